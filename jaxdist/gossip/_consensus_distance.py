"""Consensus distance: how far workers are from their mean."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives, _tree
from jaxdist.gossip import _average_params


def consensus_distance(
    params: Any, axis_name: _collectives.AxisName | None = None
) -> jax.Array:
    r"""Return how far the workers' parameters are from their mean.

    .. math:: \sqrt{\frac1W \sum_i \|x_i - \bar x\|^2}

    Args:
      params: Parameters ``[W, ...]`` as recipes with ``per_worker_params=True`` hold
        them; inside of a mapped axis, those of this worker.
      axis_name: Mapped axis of the workers, or a tuple of axes; None outside of it.

    Returns:
      A scalar of float32 or wider; equal on all workers.

    Raises:
      ValueError: If there is no ``axis_name``, and a leaf has no axis of workers.

    Communication:
      With ``axis_name`` all-reduces of the parameters and of a number:
      2(W-1)/W · (4d + 4) bytes of float32. Else none.

    Example:
      >>> print(jaxdist.consensus_distance(jnp.array([[0.0, 4.0], [6.0, 4.0]])))
      3.0

    References:
      Kong et al., `Consensus Control for Decentralized Deep Learning
      <https://arxiv.org/abs/2102.04828>`_, 2021, Section 4.
    """
    if axis_name is None:
        _average_params.check_stacked(params)
        return jnp.sqrt(
            _total([_mean_square(leaf) for leaf in jax.tree.leaves(params)])
        )
    _checks.axis_name(axis_name)
    means = _average_params.mean_over_axis(params, axis_name)
    leaves = zip(*map(jax.tree.leaves, (params, means)), strict=True)
    own = _total([_square(leaf.astype(mean.dtype) - mean) for leaf, mean in leaves])
    total = _collectives.psum(own, axis_name)
    return jnp.sqrt(total / _collectives.axis_size(axis_name))


def _total(squares):
    """Return the sum of scalars of several dtypes; 0 where there are none."""
    squares = list(squares)
    dtype = _tree.accumulator_dtype(*(square.dtype for square in squares))
    return sum((square.astype(dtype) for square in squares), jnp.zeros((), dtype))


def _square(leaf):
    return jnp.sum(jnp.square(jnp.abs(leaf)))


def _mean_square(leaf):
    """Return the mean squared distance of rows ``[W, ...]`` from their mean."""
    wide = _tree.widened(leaf)
    return _square(wide - jnp.mean(wide, axis=0, keepdims=True)) / leaf.shape[0]
