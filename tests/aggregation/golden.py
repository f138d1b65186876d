"""Inputs and results published for another implementation (ByzFL 0.0.11, float64)."""

import numpy as np

NUM_WORKERS, SIZE, NUM_BYZANTINE = 11, 5, 3
_i = np.arange(NUM_WORKERS)[:, None]
_k = np.arange(SIZE)[None]
ROWS = (
    np.sin(1.7 * _i + 0.9 * _k) * (1 + _i % 3)
    + 0.1 * _k
    + 4.0 * (_i >= NUM_WORKERS - NUM_BYZANTINE)
).astype(np.float32)
MEAN = [1.3445329, 1.2828632, 1.1516045, 1.1257687, 1.3005859]
MEDIAN = [0.9882267, 0.8833269, 1.1738476, 0.7273799, 1.0629692]
TRIMMED_MEAN = [0.8697773, 0.9656024, 1.0592836, 0.9785356, 0.9172758]
KRUM = [0.0, 0.8833269, 1.1738476, 0.7273799, -0.0425204]
