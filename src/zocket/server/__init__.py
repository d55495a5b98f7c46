"""Standalone: `host` on `sockets` or ASGI, without a broker."""
