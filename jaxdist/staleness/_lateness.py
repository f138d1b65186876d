"""Lateness: what `tx.update` is told of an update that is late."""

from typing import Any

import jax
import jax.numpy as jnp

_WHO_GIVES_IT = (
    "jaxdist.simulate_async gives it, and jaxdist.delay_updates(..., inner=...) to "
    "what is inside of it"
)


def checked_staleness(transformation: str, staleness: Any) -> jax.Array:
    """Return how late an update is, or raise where nobody said.

    Args:
      transformation: How errors call it.
      staleness: Steps of all workers since the parameters were read, a scalar; or None.
    """
    if staleness is None or jnp.ndim(staleness):
        came = "nothing" if staleness is None else f"shape {jnp.shape(staleness)}"
        raise ValueError(
            f"{transformation} needs `staleness`, the number of steps by which this "
            f"worker's update is late, a scalar: {_WHO_GIVES_IT}. Got {came}."
        )
    return jnp.asarray(staleness)


def checked_stale_params(transformation: str, params: Any, stale_params: Any) -> None:
    """Raise where parameters are missing, or are not those of one model.

    Args:
      transformation: How errors call it.
      params: Of now, or None.
      stale_params: Those on which the update was computed, or None.
    """
    if params is None:
        raise ValueError(
            f"{transformation} needs `params`: call "
            "tx.update(updates, state, params, ...)."
        )
    if stale_params is None:
        raise ValueError(
            f"{transformation} needs `stale_params`, the parameters on which this "
            f"worker's update was computed: {_WHO_GIVES_IT}. Got nothing."
        )
    found, wanted = map(jax.tree.structure, (stale_params, params))
    if found != wanted:
        raise ValueError(
            f"`stale_params` must have the structure of `params`, {wanted}, got "
            f"{found}."
        )
