"""The gateway process: authorization and routing; `sockets` on the broker. Cannot run actor code."""
