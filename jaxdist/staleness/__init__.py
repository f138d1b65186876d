"""Staleness: late updates, simulated by buffers in the state."""
