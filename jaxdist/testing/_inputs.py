"""The leaves on which promises are tight or fragile."""

import math
from collections.abc import Callable

import numpy as np

_Generator = np.random.Generator


def _normal_leaf(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape)


def _heavy_leaf(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_t(2, shape)


def _flat_leaf(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.8, 1.2, shape)


def _sparse_leaf(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape) * (rng.random(shape) < 0.1)


def _one_hot(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    hot = rng.integers(shape[1], size=(shape[0], 1)) == np.arange(shape[1])
    return hot * _flat_leaf(rng, (shape[0], 1))


def _constant_leaf(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.ones(shape) * _flat_leaf(rng, (shape[0], 1))


def _last_leaf(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw leaves of which only the last elements are not zero: those are cut off."""
    is_last = np.arange(shape[1]) >= shape[1] - math.ceil(shape[1] / 64)
    return is_last * _flat_leaf(rng, shape)


def _huge_range(rng: _Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.choice([-1.0, 1.0], shape) * 10.0 ** rng.uniform(-30, 30, shape)


# Every element but those of zero has a density: a leaf that is the same in all draws
# could stand just above a level of a quantizer, and the error that makes up for all
# others would be too rare to be seen.
SMOOTH: dict[str, Callable[[_Generator, tuple[int, int]], np.ndarray]] = {
    "normal": _normal_leaf,
    "flat": _flat_leaf,
    "heavy-tailed": _heavy_leaf,
    "sparse": _sparse_leaf,
    "one-hot": _one_hot,
    "huge": lambda rng, shape: 1e30 * _normal_leaf(rng, shape),
    "tiny": lambda rng, shape: 1e-30 * _normal_leaf(rng, shape),
}
PER_ELEMENT = ("flat",)  # each element errs often enough to be tested alone
MOSTLY_ZERO = ("sparse", "one-hot", "last")

FINITE = {
    **SMOOTH,
    "constant": _constant_leaf,
    "huge-range": _huge_range,
}
LONG = ("normal", "last")

EXTREME = {
    **FINITE,
    "denormal": lambda rng, shape: 1e-40 * _normal_leaf(rng, shape),
    "partly denormal": lambda rng, shape: 10.0 ** rng.uniform(-44, 0, shape),
    "last": _last_leaf,
}


def draw_leaf(
    kind: str, rng: _Generator, num: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Return ``float32 [num, *shape]`` leaves of a kind."""
    flat = EXTREME[kind](rng, (num, int(np.prod(shape))))
    return flat.astype(np.float32).reshape(num, *shape)
