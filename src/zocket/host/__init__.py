"""Runs instances wherever they live: mailboxes, workers, hooks, effects to frames."""
