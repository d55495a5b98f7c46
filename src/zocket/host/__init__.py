"""Runs instances wherever they live: mailboxes, workers, hooks, effects to frames."""

from zocket.host.host import Host
from zocket.host.link import Audience, EachLink, Link, Outlet

__all__ = ["Audience", "EachLink", "Host", "Link", "Outlet"]
