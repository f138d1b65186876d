"""Safety: steps that all workers skip alike, and replicas that stay equal."""
