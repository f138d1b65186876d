"""Aggregation: W gradients become one. One rule per file, routes, the transform."""
