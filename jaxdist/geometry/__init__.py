"""Geometry: how contributions lie to each other, and how columns are walked over."""
