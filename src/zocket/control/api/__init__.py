"""The HTTP API: one file of routes for each part of docs/control-api.md, `access` for who may use them."""

from zocket.control.api.application import create_app

__all__ = ["create_app"]
