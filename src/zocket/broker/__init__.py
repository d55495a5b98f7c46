"""The only door to NATS, behind a small port; a memory broker passes the same conformance tests."""
