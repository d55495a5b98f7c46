"""The dashboard: static pages that read the same HTTP API as everybody else. No build step, nothing from elsewhere."""

from zocket.control.dashboard.pages import dashboard_routes

__all__ = ["dashboard_routes"]
