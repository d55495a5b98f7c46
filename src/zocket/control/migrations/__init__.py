"""Alembic's scripts: how the tables of `records` came to be, one file a step. Run by `database.migrate`."""
