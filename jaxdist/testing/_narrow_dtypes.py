"""Narrow dtypes: what holds for float32 holds for bfloat16 and float16.

The errors of a narrow leaf are compared with those of the same leaf in float32, with
the same keys. Most of what is random then cancels, so few draws show a small bias.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdist.testing import (
    _draws,
    _inputs,
    _mean_test,
    _run,
    _shapes,
    _variance,
)

_MOST = 1024  # leaves of each dtype
_FEWEST = 256  # of them, where more would take too much memory
_ELEMENTS = 2**21
_ROUNDINGS = 2.0  # of the dtype, which each element may be off
_CLASSES = (_draws.ALONG, "of all elements, outward", "of the largest element, outward")


def error_means(setting: _run.Setting) -> Iterator[_mean_test.Means]:
    """Yield what must have the mean zero, or at most zero."""
    for dtype in _shapes.NARROW:
        leaves, keys = _draw_leaves(setting, dtype)
        like = setting.like(dtype)
        with _run.on_inputs(_run.describe_leaf("normal", like)):
            seen = _run.seen_narrow(setting.compressor, leaves, keys)
        for place, decoded in enumerate((jnp.float32, dtype)):
            what = f"{_run.describe_leaf('normal', like)} decoded to {decoded.__name__}"
            errors = _draws.normed_leaf(leaves, seen[:, place])
            if math.isfinite(setting.variance(setting.size)):
                yield _excess_of(setting, errors, _rounding_of(dtype), what)
            if setting.compressor.contract.unbiased:
                wide = leaves.astype(np.float32)
                exact = _run.seen_leaves(setting.compressor, wide, keys)
                other = _draws.normed_leaf(wide, exact).errors
                yield _bias_of(errors, other, _rounding_of(dtype), what)


def _draw_leaves(setting: _run.Setting, dtype: Any):
    """Return narrow leaves ``[n, ...]``, and the keys of as many steps."""
    num = min(setting.num_draws, _MOST, max(_FEWEST, _ELEMENTS // setting.size))
    rng = setting.rng(3, _shapes.NARROW.index(dtype))
    drawn = _inputs.draw_leaf("normal", rng, num, setting.shape)
    return drawn.astype(dtype), _run.many_steps(setting.keys(3), num)


def _rounding_of(dtype: Any) -> float:
    """Return what rounding may add to each element, as a share of it."""
    return _ROUNDINGS * float(jnp.finfo(dtype).eps)


def _excess_of(
    setting: _run.Setting, drawn: _draws.Errors, rounding: float, what: str
) -> _mean_test.Means:
    """Return the squared errors, less their bound."""
    squared = np.sum(drawn.errors**2, axis=1, keepdims=True)
    bound = setting.variance(setting.size)
    return _variance.excess_of(
        squared.sum(axis=0),
        np.sum(squared**2, axis=0),
        float(np.max(np.nan_to_num(squared, nan=np.inf))),
        len(squared),
        bound=bound,
        limit=_variance.with_rounding(bound, rounding),
        stochastic=setting.compressor.contract.stochastic,
        what=what,
    )


def _bias_of(
    drawn: _draws.Errors, other: np.ndarray, rounding: float, what: str
) -> _mean_test.Means:
    """Return by how much the errors are larger than those in float32."""
    classes = _draws.pool_classes("normal")
    weights = np.stack([classes[x](drawn.leaves).astype(float) for x in _CLASSES])
    samples = np.einsum("mnd,nd->mn", weights, drawn.errors - other)
    of_each = np.einsum("mnd,nd->m", np.abs(weights), np.abs(drawn.leaves))
    return _mean_test.Means(
        _CLASSES,
        samples.sum(axis=1),
        np.sum(samples**2, axis=1),
        rounding * of_each / len(other),
        len(other),
        what,
        hint="The same leaves in float32 with the same keys have no such error. ",
    )
