"""Numerics of compression: what is no compressor itself."""
