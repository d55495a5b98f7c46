"""Tracked state: mutation in, RFC 6902 patches out, rollback.

Knows no event loop, no clock, no network and no environment; time and size limits come in as arguments.
"""

from zocket.state import pointer
from zocket.state.difference import difference
from zocket.state.document import Document
from zocket.state.encoding import encode
from zocket.state.growth import Grown, Growth, Operations, operations_of
from zocket.state.patch import apply

__all__ = [
    "Document",
    "Grown",
    "Growth",
    "Operations",
    "apply",
    "difference",
    "encode",
    "operations_of",
    "pointer",
]
