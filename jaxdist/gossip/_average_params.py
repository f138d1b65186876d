"""Average params: the mean of all workers' parameters, which one evaluates."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks, _collectives, _tree


def average_params(params: Any, axis_name: _collectives.AxisName | None = None) -> Any:
    r"""Return the mean of the parameters of all workers, to evaluate or to store.

    .. math:: \bar x = \frac1W \sum_i x_i

    With parameters of its own each worker is a model, and their mean is usually better
    than each of them. Statistics of a model, as of BatchNorm, are averaged the same
    way.

    Args:
      params: Parameters ``[W, ...]`` as recipes with ``per_worker_params=True`` hold
        them; inside of a mapped axis, those of this worker.
      axis_name: Mapped axis of the workers, or a tuple of axes; None outside of it.

    Returns:
      The mean, with the dtypes of ``params``; equal on all workers.

    Raises:
      ValueError: If there is no ``axis_name``, and a leaf has no axis of workers.

    Communication:
      With ``axis_name`` an all-reduce: 2(W-1)/W · 4d bytes of float32. Else none.

    Example:
      >>> print(jaxdist.average_params(jnp.array([[1.0, 2.0], [3.0, 4.0]])))
      [2. 3.]
    """
    if axis_name is not None:
        _checks.axis_name(axis_name)
        mapped = mean_over_axis(params, axis_name)
        return jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), mapped, params)
    check_stacked(params)

    def mean(leaf):
        return jnp.mean(_tree.widened(leaf), axis=0).astype(leaf.dtype)

    return jax.tree.map(mean, params)


def mean_over_axis(params: Any, axis_name: _collectives.AxisName) -> Any:
    """Return the mean over the workers, in float32 or wider."""
    num_workers = _collectives.axis_size(axis_name)
    total = _collectives.psum(jax.tree.map(_tree.widened, params), axis_name)
    return jax.tree.map(lambda leaf: leaf / num_workers, total)


def check_stacked(params: Any) -> None:
    """Raise when a leaf has no leading axis of workers."""
    for name, leaf in _tree.named_leaves(params):
        if not jnp.ndim(leaf):
            raise ValueError(
                "`params` must have a leading axis of workers [W, ...] where there is "
                f"no `axis_name`, got a scalar for the leaf {name!r}."
            )
