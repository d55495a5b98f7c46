"""The runtime process: bundle, ownership, reporting, health; `host` on the broker."""
