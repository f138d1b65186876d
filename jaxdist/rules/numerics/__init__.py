"""Numerics of rules: what is no rule itself."""
