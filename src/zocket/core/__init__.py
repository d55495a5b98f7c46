"""What an actor is: definitions, schemas, middleware, one turn, one instance. Returns effects, performs none."""
