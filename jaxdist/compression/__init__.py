"""Compressors: what one worker sends instead of one leaf. One file each."""
