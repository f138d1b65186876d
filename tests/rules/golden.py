"""Inputs and results published for another implementation (ByzFL 0.0.11, float64)."""

import jax.numpy as jnp
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
WITHOUT_THE_LAST = [0.2173038, 0.1381933, 0.0301788, 0.0506816, 0.2598636]  # three
CENTERED_CLIPPING = [0.4470241, 0.6793369, 0.796582, 0.7848013, 0.7276807]  # 5 times 2
GEOMETRIC_MEDIAN = [0.3314487, 0.7400367, 0.9255547, 0.8232842, 0.5862996]

# The example of a published implementation of Krum.
POINTS = jnp.array(
    [[1, 2], [2, 2], [1, 1], [2, 1], [1.5, 1.5], [10, 10], [-8, 9]], jnp.float32
)
