"""Stages: what changes at given steps, compiled once and chosen while running."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _traffic
from jaxdist.compression import _compressor


class Stage(NamedTuple):
    """The compressors from one step on, in the order in which they were given."""

    start: int
    compressors: tuple[Any, ...]


def split_stages(*compressors: Any) -> list[Stage]:
    """Return the stages of compressors, policies and step policies, and of Nones."""
    starts = {0}
    for compressor in compressors:
        if isinstance(compressor, _compressor.StepPolicy):
            starts.update(compressor.starts)
    return [
        Stage(
            start,
            tuple(_compressor_at(compressor, start) for compressor in compressors),
        )
        for start in sorted(starts)
    ]


def _compressor_at(compressor: Any, step: int) -> Any:
    """Return what a step policy uses at the step."""
    if not isinstance(compressor, _compressor.StepPolicy):
        return compressor
    pairs = zip(compressor.starts, compressor.stages, strict=True)
    return [stage for start, stage in pairs if start <= step][-1]


def run_stage(
    stages: Sequence[Stage],
    function: Callable[..., Any],
    count: jax.Array,
    *args: Any,
) -> Any:
    """Return ``function(*compressors, *args)`` with the compressors of this step."""
    recorded = _traffic.recorded_step()
    if recorded is not None:
        stages = [[stage for stage in stages if stage.start <= recorded][-1]]
    if len(stages) == 1:
        return function(*stages[0].compressors, *args)

    def branch(stage):
        return lambda *args: function(*stage.compressors, *args)

    starts = jnp.asarray([stage.start for stage in stages], jnp.int32)
    current = jnp.sum(count >= starts) - 1
    return jax.lax.switch(current, [branch(stage) for stage in stages], *args)


def init_stages(
    stages: Sequence[Stage], function: Callable[..., Any], params: Any
) -> Any:
    """Return ``function(*compressors, params)``, which must be alike for all stages."""
    state = function(*stages[0].compressors, params)
    wanted = _state_shapes(state)
    for stage in stages[1:]:
        found = _state_shapes(
            jax.eval_shape(lambda p, s=stage: function(*s.compressors, p), params)
        )
        if found != wanted:
            raise ValueError(
                f"`compressor` changes at step {stage.start} to one with another "
                "state, so what is not sent yet would be lost. Give all stages the "
                "same memory: error_feedback(identity()) instead of identity(), "
                "identity(memory_of=power_sgd(4)) before power_sgd(4), power_sgd with "
                "a common max_rank."
            )
    return state


def _state_shapes(state: Any) -> Any:
    """Return what must be alike of two states."""
    leaves, treedef = jax.tree.flatten(state)
    return treedef, [(leaf.shape, leaf.dtype) for leaf in leaves]
