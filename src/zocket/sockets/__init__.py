"""The WebSocket front shared by gateway and standalone server."""
