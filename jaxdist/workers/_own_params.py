"""Own parameters: what moves workers towards each other needs them to be apart."""

from typing import Any

import jax.numpy as jnp

from jaxdist import _checks, _collectives, _tree


def check_own_params(
    transformation: str, params: Any, axis_name: _collectives.AxisName
) -> None:
    """Raise when there are no parameters, or the same ones on all workers.

    Args:
      transformation: How errors call it.
      params: Of this worker, or None.
      axis_name: Of the workers.
    """
    if params is None:
        raise ValueError(
            f"{transformation} needs `params`: call "
            "tx.update(updates, state, params, ...)."
        )
    for name, leaf in _tree.named_leaves(params):
        # JAX forgets the type of what has no elements, which also cannot differ.
        if jnp.size(leaf) and not _collectives.is_varying(leaf, axis_name):
            raise _checks.LayoutError(
                f"`params` are the same on all workers of {axis_name!r} (leaf "
                f"{name!r}), so that {transformation} has nothing to do: give each "
                "worker parameters of its own, for example "
                "jaxdist.data_parallel(..., per_worker_params=True)."
            )
