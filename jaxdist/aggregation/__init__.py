"""Aggregation: W gradients travel and become one. Plans, routes, the transform."""
