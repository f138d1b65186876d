"""Planning: how long a step takes on a network that is not there yet."""
