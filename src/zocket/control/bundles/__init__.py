"""Stored bundles: files named by their own checksum.

`port` is what a store does, `directory`, `objects` (NATS) and `s3` are the stores, `incoming` receives and checks an
upload, `signatures` checks who signed it, `retention` decides what may go.
"""

from zocket.control.bundles.incoming import MAX_BUNDLE_BYTES, receive
from zocket.control.bundles.opening import open_store
from zocket.control.bundles.port import BundleStore, StoredBundle

__all__ = ["MAX_BUNDLE_BYTES", "BundleStore", "StoredBundle", "open_store", "receive"]
