"""Tracked state: ordinary mutation in, RFC 6902 patches out, rollback on failure."""
