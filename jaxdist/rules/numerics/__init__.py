"""Numerics of rules: sorting, subsets, spectra; no rules themselves."""
