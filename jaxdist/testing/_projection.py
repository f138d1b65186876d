"""Projections: what arrives is orthogonal to what is dropped."""

import numpy as np

from jaxdist.testing import _run

_LEAVES = 16
_TOLERANCE = 1e-5  # of float32, in squares of the norm of the leaf


def projection(setting: _run.Setting) -> str:
    """Check the angle on leaves of several shapes; what a padding adds is no defect.

    A transform that pads a leaf is orthogonal only where nothing is padded, and the kit
    does not know the lengths that it divides. So one of the shapes must do.
    """
    worst = {}
    for shape in _divisible_shapes(setting):
        worst[shape] = abs(_inner_product(setting, shape))
        if worst[shape] <= _TOLERANCE:
            return f"{_LEAVES} leaves of {list(shape)}"
    shape, least = min(worst.items(), key=lambda item: item[1])
    raise AssertionError(
        f"on normal leaves of float32{list(shape)} the inner product of what arrives "
        f"and what is dropped is {least:.3g} times the square of the leaf, not zero."
    )


def _divisible_shapes(setting: _run.Setting) -> list[tuple[int, ...]]:
    """Return shapes that usual blocks and transforms divide, the usual one first."""
    is_vector = len(setting.shape) < 2
    more = [(1024,), setting.shape] if is_vector else [(64, 64), setting.shape]
    return [setting.long.shape, *more]


def _inner_product(setting: _run.Setting, shape: tuple[int, ...]) -> float:
    """Return the largest inner product, in squares of the norm of the leaf."""
    chosen = setting.of_shape(shape)
    leaves = np.asarray(chosen.leaves("normal", _LEAVES))
    keys = _run.many_steps(setting.keys(), _LEAVES)
    with _run.on_inputs(_run.describe_leaf("normal", chosen.like())):
        seen = _run.seen_leaves(setting.compressor, leaves, keys)
    flat, made = (_run.exact_array(x).reshape(_LEAVES, -1) for x in (leaves, seen))
    products = np.sum(made * (flat - made), axis=1) / np.sum(flat**2, axis=1)
    return float(np.max(np.abs(products)))
