"""Looking after the stored state of durable actors, beside the hosts that use it."""
