"""Numerics of compression: packing, rounding, sampling; no compressors themselves."""
