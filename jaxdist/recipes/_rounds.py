"""Rounds: H steps of each worker on its own, and one exchange of how far they went.

A displacement stands where a gradient does, so that all that handles gradients handles
rounds. What differs is kept here: the walk of a worker, and a state of two optimizers.
The walk is a loop without a collective, in which parameters are this worker's own;
after it they are stored once again, the same bits on all workers.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.aggregation import _receiver_memory
from jaxdist.recipes import _gradient, _model_state
from jaxdist.workers import _weight, _worker_state

InnerState = Literal["carry", "reset", "average"]


class RoundState(NamedTuple):
    """State of the two optimizers of local rounds."""

    inner: Any  # a PerWorkerState; or equal on all workers; or () where it is reset
    outer: Any  # of what the displacements go to


@dataclasses.dataclass(frozen=True, eq=False)
class Rounds:
    """How workers step on their own, and what becomes of their displacements."""

    inner: optax.GradientTransformationExtraArgs
    outer: optax.GradientTransformationExtraArgs
    axis_name: _collectives.AxisName
    inner_state: InnerState

    @property
    def transformation(self) -> optax.GradientTransformationExtraArgs:
        """The optimizer whose gradients are displacements."""
        return optax.GradientTransformationExtraArgs(self.init, self.update)

    def init(self, params: Any) -> RoundState:
        """Return the state before the first round."""
        own = ()
        if self.inner_state != "reset":
            own = self._init_walk(params)
        if self.inner_state == "carry":
            own = _worker_state.attach_axis(own, self.axis_name)
        return RoundState(own, self.outer.init(params))

    def update(
        self,
        updates: Any,
        state: RoundState,
        params: Any = None,
        *,
        walked: Any = None,
        weight: Any = None,
        **extra: Any,
    ) -> tuple[Any, RoundState]:
        """Return the step of the outer optimizer, and the state after the round.

        Args:
          updates: Displacement of this worker.
          state: Before the round.
          params: Equal on all workers.
          walked: State of this worker's inner optimizer after the round.
          weight: Of this worker, or None.
          **extra: Further arguments for the outer optimizer.
        """
        _checks.own_state(state, RoundState, "local rounds")
        if weight is not None:
            extra["weight"] = weight
        updates, outer = self.outer.update(updates, state.outer, params, **extra)
        if walked is None or self.inner_state == "reset":
            return updates, RoundState(state.inner, outer)
        return updates, RoundState(
            self._merge_inner(state.inner, walked, weight), outer
        )

    def _merge_inner(self, before, walked, weight):
        """Return what the inner optimizers remember after the exchange."""
        if self.inner_state == "average":
            with _traffic.contents(_inner_contents(walked, self.axis_name)):
                return _model_state.merge_model_states(
                    walked, before, weight, self.axis_name
                )
        own = _worker_state.attach_axis(walked, self.axis_name)
        if weight is None:
            return own
        here = _weight.own_weight(weight, self.axis_name) > 0
        return _receiver_memory.keep_while_absent(own, before, here)

    def _init_walk(self, params):
        """Return the state of an inner optimizer that has not stepped yet."""
        with _alone():
            return self.inner.init(params)

    def walk(
        self,
        loss: _gradient.Loss,
        params: Any,
        state: RoundState,
        model_state: Any,
        batches: Any,
        key: jax.Array | None,
        steps: jax.Array | None,
    ) -> _gradient.Outcome:
        """Return how far this worker came in a round, and what it saw on the way.

        Args:
          loss: The loss.
          params: Where all workers start.
          state: This worker's.
          model_state: Carried from step to step.
          batches: ``[H, b, ...]``.
          key: This worker's, for this round; None where the loss draws nothing.
          steps: How many of the H steps this worker takes, int32 of shape (); None for
            all of them.
        """
        own = state.inner
        if self.inner_state == "carry":
            own = _worker_state.detach_axis(own)
        elif self.inner_state == "reset":
            own = self._init_walk(params)
        walk = _Walk(self, loss, key)
        start = _collectives.to_varying((params, own, model_state), self.axis_name)
        if steps is None:
            end, seen = jax.lax.scan(walk.step, (*start, jnp.int32(0)), batches)
            seen = jax.tree.map(lambda x: jnp.mean(x, axis=0), seen)
        else:
            end, seen = walk.some_steps(start, batches, steps)
        stepped, own, model_state, _ = end
        displacement = jax.tree.map(jnp.subtract, params, stepped)
        has_seen = None if steps is None else steps > 0
        return _gradient.Outcome(*seen, model_state, displacement, own, has_seen)


def _alone():
    """Let nothing travel in the steps of a worker."""
    return _traffic.silence("local rounds", "Put it into `outer`")


class _Walk(NamedTuple):
    """The steps of one worker in one round."""

    rounds: Rounds
    loss: _gradient.Loss
    key: jax.Array | None

    def step(self, carried, batch):
        """Take one local step."""
        params, own, model_state, index = carried
        key = None if self.key is None else jax.random.fold_in(self.key, index)
        axis_name = self.rounds.axis_name
        outcome = _gradient.differentiate(
            self.loss, axis_name, params, model_state, batch, key
        )
        with _alone():
            updates, own = self.rounds.inner.update(
                outcome.grads, own, params, value=outcome.loss
            )
        params = optax.apply_updates(params, updates)
        after = params, own, outcome.model_state, index + 1
        return after, (outcome.loss, outcome.metrics)

    def some_steps(self, start, batches, steps):
        """Take the first so many steps, really fewer: the loop ends there."""
        number = jax.tree.leaves(batches)[0].shape[0]
        steps = jnp.clip(steps, 0, number)

        def batch_at(index):
            return jax.tree.map(lambda x: x[index], batches)

        def turn(index, carried):
            state, sums = carried
            state, seen = self.step(state, batch_at(index))
            return state, jax.tree.map(_add_wide, sums, seen)

        state = (*start, jnp.int32(0))
        shapes = jax.eval_shape(lambda s: self.step(s, batch_at(0))[1], state)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, _tree.accumulator_dtype(x.dtype)), shapes
        )
        carried = _collectives.to_varying((state, zeros), self.rounds.axis_name)
        state, sums = jax.lax.fori_loop(0, steps, turn, carried)
        # Of no step nothing was seen: NaN, which counts in no mean.
        return state, jax.tree.map(lambda x: x / steps.astype(x.dtype), sums)


def _add_wide(total, value):
    return total + value.astype(total.dtype)


def _inner_contents(walked, axis_name):
    """Return what an all-reduce of inner states holds."""
    num_workers = _collectives.axis_size(axis_name)
    return [
        _traffic.Content(
            name,
            _collectives.psum_nbytes(leaf),
            leaf.shape,
            "identity()",
            dense=_traffic.all_reduce_bytes(_tree.leaf_nbytes(leaf), num_workers),
        )
        for name, leaf in _tree.named_leaves(walked)
    ]


def checked_rounds(
    inner: optax.GradientTransformation,
    outer: Any,
    axis_name: _collectives.AxisName,
    inner_state: Any,
    per_worker_params: bool,
) -> Rounds | None:
    """Return the rounds, None without an outer optimizer, or raise."""
    _checks.one_of("inner_state", inner_state, ("carry", "reset", "average"))
    if outer is None:
        if inner_state != "carry":
            raise ValueError(
                "`inner_state` says what becomes of it after a local round, and there "
                f"are none without `outer`; got {inner_state!r}."
            )
        return None
    _checks.optimizer("outer", outer)
    if per_worker_params:
        raise ValueError(
            "`per_worker_params` must be False with `outer`: after each round all "
            "workers have the same parameters."
        )
    return Rounds(
        optax.with_extra_args_support(inner),
        optax.with_extra_args_support(outer),
        axis_name,
        inner_state,
    )
