"""The Python client: typed handles, subscriptions, reconnect."""
