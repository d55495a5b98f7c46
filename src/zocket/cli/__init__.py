"""The `zocket` command."""
