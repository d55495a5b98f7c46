"""Bytes and messages: frames, envelopes, subjects; sessions as sans-I/O state machines."""
