"""Running moments: spread and signal of gradients, averaged over the steps."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives
from jaxdist.workers import _moments


class RunningMoments(NamedTuple):
    """Running means of both, from the steps that could be measured."""

    spread: jax.Array  # float32, shape (); equal on all workers
    signal: jax.Array  # float32, shape (); equal on all workers
    weight: jax.Array  # float32, shape (): of all steps so far, in [0, 1]; likewise
    num_workers: jax.Array  # int32, shape (): that counted in the last one; likewise


def start_moments() -> RunningMoments:
    """Return the running means before the first step."""
    zero = jnp.zeros((), jnp.float32)
    return RunningMoments(zero, zero, zero, jnp.zeros((), jnp.int32))


def add_moments(
    running: RunningMoments, moments: _moments.Moments, decay: float
) -> RunningMoments:
    """Add those of a step, if it could be measured.

    Args:
      running: Before the step.
      moments: Of the step.
      decay: Of the running means, in [0, 1).
    """
    mean_square = moments.mean_square.astype(jnp.float32)
    square_of_mean = moments.square_of_mean.astype(jnp.float32)
    number = moments.num_workers.astype(jnp.float32)
    spread = (mean_square - square_of_mean) * number / jnp.maximum(number - 1, 1)
    signal = square_of_mean - spread / jnp.maximum(number, 1)
    # Zeros stand for a step that was skipped, and tell nothing.
    measured = (number > 1) & (mean_square > 0) & jnp.isfinite(spread + signal)

    def mix(old, new):
        return jnp.where(measured, decay * old + (1 - decay) * new, old)

    return RunningMoments(
        mix(running.spread, spread),
        mix(running.signal, signal),
        mix(running.weight, 1.0),
        jnp.where(measured, moments.num_workers, running.num_workers),
    )


def check_axis(transformation: str, axis_name: _collectives.AxisName) -> int:
    """Return W, or raise for one worker, of whom nothing is different."""
    num_workers = _collectives.axis_size(axis_name)
    if num_workers < 2:
        raise ValueError(
            f"{transformation} compares the gradients of at least 2 workers; "
            f"`axis_name` {axis_name!r} has {num_workers}. "
            "jaxdist.diagnostics.example_diversity compares those of the examples."
        )
    return num_workers


def sum_of_noted(
    transformation: str,
    axis_name: _collectives.AxisName,
    noted: Sequence[_moments.Moments],
) -> _moments.Moments:
    """Return the moments of the whole gradient, whose leaves may be apart.

    Args:
      transformation: That asks, as errors call it.
      axis_name: Over which it was asked to look.
      noted: By the aggregations inside.
    """
    over = sorted({str(moments.axis_name) for moments in noted})
    if over != [str(axis_name)]:
        raise ValueError(
            f"`inner` of {transformation} must hold an aggregation over `axis_name` "
            f"{axis_name!r}, such as jaxdist.aggregate({axis_name!r}), and none over "
            f"other axes; got {over or 'none'}. Where one level of a network follows "
            "on another, name both axes in one aggregation."
        )
    first, *others = noted
    for moments in others:
        first = first._replace(
            mean_square=first.mean_square + moments.mean_square,
            square_of_mean=first.square_of_mean + moments.square_of_mean,
        )
    return first
