"""Own parameters: what moves workers towards each other needs them to be apart."""

from typing import Any

import jax.numpy as jnp

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.workers import _arrival


def check_own_params(
    transformation: str,
    params: Any,
    axis_name: _collectives.AxisName,
    arrival: _arrival.Arrival | None = None,
) -> None:
    """Raise when there are no parameters, or the same ones on all workers.

    Args:
      transformation: How errors call it.
      params: Of this worker, or None.
      axis_name: Of the workers.
      arrival: What ``tx.update`` got as ``arrival=``, or None.
    """
    if params is None:
        raise ValueError(
            f"{transformation} needs `params`: call "
            "tx.update(updates, state, params, ...)."
        )
    if _traffic.is_recording():
        return  # a report knows shapes, and not whose they are
    # Simulated time has no types, but an arrival brings what belongs to all workers.
    is_common = arrival is not None and arrival.all_params is None
    for name, leaf in _tree.named_leaves(params):
        # JAX forgets the type of what has no elements, which also cannot differ.
        is_own = _collectives.is_varying(leaf, axis_name) and not is_common
        if jnp.size(leaf) and not is_own:
            raise _checks.LayoutError(
                f"`params` are the same on all workers of {axis_name!r} (leaf "
                f"{name!r}), so that {transformation} has nothing to do: give each "
                "worker parameters of its own, for example "
                "jaxdist.data_parallel(..., per_worker_params=True)."
            )
