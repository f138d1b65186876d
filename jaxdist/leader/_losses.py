"""Losses: what each worker says of itself, by which the leader is found."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic
from jaxdist.workers import _arrival


def check_loss(value: Any) -> None:
    """Raise when there is no loss by which to find the leader."""
    if value is None or jnp.ndim(value):
        came = "nothing" if value is None else f"shape {jnp.shape(value)}"
        raise ValueError(
            "pull_to_leader needs this worker's loss as a scalar `value`: call "
            f"tx.update(updates, state, params, value=loss). Got {came}."
        )


def no_losses(number: int) -> jax.Array:
    """Return room for the last losses of a worker, NaN where there was none yet."""
    return jnp.full(number, jnp.nan, jnp.float32)


def no_reports(num_workers: int) -> jax.Array:
    """Return what workers reported before they did: none of them can lead."""
    return jnp.full(num_workers, jnp.inf, jnp.float32)


def note_loss(losses: jax.Array, loss: jax.Array, is_here: Any) -> jax.Array:
    """Return the last losses with this one, which is infinite where it is not finite.

    Args:
      losses: The last ones, the newest at the end.
      loss: Of this step.
      is_here: Whether the worker is there; who is absent has no loss.
    """
    newest = jnp.where(jnp.isfinite(loss), loss, jnp.inf)
    return jnp.where(is_here, jnp.append(losses[1:], newest), losses)


def mean_of_losses(losses: jax.Array) -> jax.Array:
    """Return the mean of those there are; not finite where none is."""
    return jnp.nanmean(losses)


class Leader(NamedTuple):
    """Who leads."""

    index: jax.Array  # int32, shape (); equal on all workers
    exists: jax.Array  # bool, shape (); equal on all workers
    losses: jax.Array  # float32 [W], of all workers; infinite for who cannot lead


def leader_of_all(loss: jax.Array, axis_name: _collectives.AxisName) -> Leader:
    """Return who has the least loss of all, who all meet.

    Args:
      loss: Of this worker; infinite where it must not lead.
      axis_name: Of the workers.
    """
    with _traffic.contents([_traffic.Content("(losses)", 4)]):
        return _least(_collectives.all_gather(loss, axis_name))


def leader_of_reports(
    loss: jax.Array,
    is_here: Any,
    reports: jax.Array,
    arrival: _arrival.Arrival,
    axis_name: _collectives.AxisName,
) -> tuple[Leader, jax.Array]:
    """Return who has the least loss of what all reported last, and its place.

    Args:
      loss: Of this worker; infinite where it must not lead.
      is_here: Whether it reports; who is absent does not.
      reports: The losses that all W workers reported last, float32 ``[W]``.
      arrival: Whose loss this is.
      axis_name: Of the workers that meet.

    Returns:
      The leader, and its place among those who meet; -1 where it is not among them.
    """
    nobody = reports.shape[0]
    who = jnp.where(is_here, arrival.worker, nobody)
    with _traffic.contents([_traffic.Content("(losses)", 8)]):
        workers = _collectives.all_gather(who, axis_name)
        losses = _collectives.all_gather(loss, axis_name)
    leader = _least(reports.at[workers].set(losses, mode="drop"))
    places = jnp.arange(workers.shape[0], dtype=jnp.int32)
    return leader, jnp.max(jnp.where(workers == leader.index, places, -1))


def _least(losses):
    """Return who has the least loss, the first of several."""
    index = jnp.argmin(losses).astype(jnp.int32)
    return Leader(index, jnp.isfinite(jnp.min(losses)), losses)
