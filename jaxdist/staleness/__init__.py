"""Staleness: what comes late, simulated by buffers in the state."""
