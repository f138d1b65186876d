"""Rounds: H steps of each worker on its own, and one exchange of how far they went.

A displacement stands where a gradient does, so that all that handles gradients handles
rounds. What differs is kept here: the walk of a worker, and a state of two optimizers.
The walk is a loop without a collective, in which parameters are this worker's own;
after it they are stored once again, the same bits on all workers.

Global momentum sends one message where its authors send two, whose weighted sum it is.
So nothing behind it, neither a memory nor a rule, has to know of it, and the momentum
is that of the outer optimizer. SCAFFOLD's message could be saved where the mean
displacement says the same, but whether it does depends on what is inside two functions.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.aggregation import _receiver_memory
from jaxdist.leader import _common
from jaxdist.recipes import _gradient, _model_state
from jaxdist.workers import _arrival, _weight, _worker_state

InnerState = Literal["carry", "reset", "average"]


class RoundState(NamedTuple):
    """State of the two optimizers of local rounds."""

    inner: Any  # a PerWorkerState; or equal on all workers; or () where it is reset
    outer: Any  # of what the displacements go to
    drift: Any = ()  # a DriftState where it is corrected
    previous: Any = ()  # a PreviousState with global momentum


class DriftState(NamedTuple):
    """What gradients are corrected by, so that workers do not drift apart."""

    common: Any  # mean of `own` over the workers; equal on all of them
    own: _worker_state.PerWorkerState  # mean gradient of a worker's last round; varies


class PreviousState(NamedTuple):
    """Where the last round began, to walk from there once more."""

    count: jax.Array  # int32, shape (): rounds so far; equal on all workers
    params: Any  # as params are; equal on all workers


class Walked(NamedTuple):
    """What a worker brings from a round besides its displacement."""

    inner: Any  # state of its inner optimizer
    gradient: Any  # mean of its gradients; () where no drift is corrected


@dataclasses.dataclass(frozen=True, eq=False)
class Rounds:
    """How workers step on their own, and what becomes of their displacements."""

    inner: optax.GradientTransformationExtraArgs
    outer: optax.GradientTransformationExtraArgs
    axis_name: _collectives.AxisName
    inner_state: InnerState
    correct_drift: bool
    per_worker_params: bool
    global_momentum: float

    @property
    def transformation(self) -> optax.GradientTransformationExtraArgs:
        """The optimizer whose gradients are displacements."""
        return optax.GradientTransformationExtraArgs(self.init, self.update)

    def init(self, params: Any) -> RoundState:
        """Return the state before the first round."""
        own = ()
        if self.inner_state != "reset":
            own = self.init_walk(params)
        if self.inner_state == "carry":
            own = _worker_state.attach_axis(own, self.axis_name)
        previous = ()
        if self.global_momentum:
            zeros = jax.tree.map(jnp.zeros_like, params)
            previous = PreviousState(jnp.zeros((), jnp.int32), zeros)
        return RoundState(
            own, self.outer.init(params), self._init_drift(params), previous
        )

    def _init_drift(self, params):
        """Return corrections of zero."""
        if not self.correct_drift:
            return ()
        zeros = jax.tree.map(_tree.wide_zeros, params)
        own = _worker_state.attach_axis(zeros, self.axis_name)
        return DriftState(zeros, own)

    def update(
        self,
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        walked: Any = None,
        weight: Any = None,
        **extra: Any,
    ) -> tuple[Any, Any]:
        """Return the step of the outer optimizer, and the state after the round.

        Args:
          updates: Displacement of this worker.
          state: Before the round.
          params: Equal on all workers.
          walked: What this worker brings besides, a :class:`Walked`.
          weight: Of this worker, or None.
          **extra: Further arguments for the outer optimizer.
        """
        _checks.own_state(state, RoundState, "local rounds")
        if weight is not None:
            extra["weight"] = weight
        updates, outer = self.outer.update(updates, state.outer, params, **extra)
        if walked is None:
            return updates, state._replace(outer=outer)
        inner = self._merge_inner(state.inner, walked.inner, weight)
        everyone = _arrival.identity_of(extra.get("arrival"), self.axis_name)
        drift = self._merge_drift(
            state.drift, walked.gradient, weight, everyone.num_workers
        )
        previous = state.previous
        if self.global_momentum:
            previous = PreviousState(_tree.next_count(previous.count), params)
        return updates, RoundState(inner, outer, drift, previous)

    def _merge_inner(self, before, walked, weight):
        """Return what the inner optimizers remember after the exchange."""
        if self.inner_state == "reset":
            return before
        if self.inner_state == "average":
            weight = self._weight_of_finite(walked, weight)
            with _traffic.contents(_common.leaf_contents(walked, self.axis_name)):
                return _model_state.merge_model_states(
                    walked, before, weight, self.axis_name
                )
        return self._keep_of_absent(walked, before, weight)

    def _merge_drift(self, before, gradient, weight, num_workers):
        """Return the corrections of the next round: one more mean of gradients."""
        if not self.correct_drift:
            return before
        weight = self._weight_of_finite(gradient, weight)
        own = self._keep_of_absent(gradient, before.own, weight)
        change = jax.tree.map(
            lambda new, old: (new - old)[0], own.inner_state, before.own.inner_state
        )
        with _traffic.contents(_common.leaf_contents(change, self.axis_name)):
            total = _collectives.psum(change, self.axis_name)
        # Of all workers, also of those who do not meet, and have not changed.
        common = jax.tree.map(lambda c, x: c + x / num_workers, before.common, total)
        return DriftState(common, own)

    def _weight_of_finite(self, tree, weight):
        """Return this worker's weight; 0 where what it says would spoil a mean."""
        own = jnp.ones(())
        if weight is not None:
            own = _weight.own_weight(weight, self.axis_name)
        leaves = jax.tree.leaves(tree)
        floats = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
        return jnp.where(_tree.is_finite(floats), own, 0)

    def _keep_of_absent(self, own, before, weight):
        """Return each worker's own, of those who are absent as it was."""
        marked = _worker_state.attach_axis(own, self.axis_name)
        if weight is None:
            return marked
        here = _weight.own_weight(weight, self.axis_name) > 0
        return _receiver_memory.keep_while_absent(marked, before, here)

    def init_walk(self, params):
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
            own = self.init_walk(params)
        walk = Walk(self, loss, key, _correction_of(state.drift))
        total = ()
        if self.correct_drift:
            total = jax.tree.map(_tree.wide_zeros, params)

        def walk_from(params):
            start = _collectives.to_varying(
                (params, own, model_state, total), self.axis_name
            )
            return walk.run((*start, jnp.int32(0)), batches, steps)

        end, seen = walk_from(params)
        displacement = jax.tree.map(jnp.subtract, params, end[0])
        if self.global_momentum:
            displacement = self._less_previous(
                displacement, params, state.previous, walk_from
            )
        _, own, model_state, total, taken = end
        has_seen = None if steps is None else taken > 0
        mean = total
        if self.correct_drift:
            before = _worker_state.detach_axis(state.drift.own)
            mean = jax.tree.map(
                lambda x, old: jnp.where(taken > 0, x / taken.astype(x.dtype), old),
                *(total, before),
            )
        walked, (value, metrics) = Walked(own, mean), seen
        return _gradient.Outcome(
            value, metrics, model_state, displacement, walked, has_seen
        )

    def _less_previous(self, displacement, params, previous, walk_from):
        """Return a displacement less a share of that from where the last round began.

        It is found on the same batches, so that most of the noise goes away.
        """
        has_previous = previous.count > 0
        start = jax.tree.map(
            lambda old, now: jnp.where(has_previous, old, now), previous.params, params
        )
        (end, *_), _ = walk_from(start)

        def less(moved, first, last):
            other = _tree.widened(first) - _tree.widened(last)
            share = jnp.asarray(self.global_momentum, other.dtype)
            share = jnp.where(has_previous, share, 0)
            return (_tree.widened(moved) - share * other).astype(moved.dtype)

        return jax.tree.map(less, displacement, start, end)


def _alone():
    """Let nothing travel in the steps of a worker."""
    return _traffic.silence("local rounds", "Put it into `outer`")


class Walk(NamedTuple):
    """The steps of one worker in one round."""

    rounds: Rounds
    loss: _gradient.Loss
    key: jax.Array | None
    correction: Any  # added to each gradient; None where no drift is corrected

    def run(
        self, start: Any, batches: Any, steps: jax.Array | None
    ) -> tuple[Any, tuple[jax.Array, dict[str, jax.Array]]]:
        """Return where local steps end, and the means of what was seen on the way.

        Args:
          start: Parameters, inner state, model state, sum of the gradients or ``()``,
            number of steps taken before.
          batches: ``[H, b, ...]``.
          steps: How many of the H steps this worker takes, or None for all.
        """
        if steps is not None:
            if self.loss.unroll:
                raise ValueError(
                    "`steps` must be None with `unroll`: how many steps a worker takes "
                    "is only known when the program runs, so it needs a loop."
                )
            return self._run_some(start, batches, steps)
        end, seen = jax.lax.scan(self.step, start, batches, unroll=self.loss.unroll)
        return end, jax.tree.map(lambda x: jnp.mean(x, axis=0), seen)

    def step(self, carried, batch):
        """Take one local step."""
        params, own, model_state, total, index = carried
        key = None if self.key is None else jax.random.fold_in(self.key, index)
        axis_name = self.rounds.axis_name

        def differentiate(params):
            return _gradient.differentiate(
                self.loss, axis_name, params, model_state, batch, key
            )

        def gradient_at(params):
            return self._correct(differentiate(params).grads)

        outcome = differentiate(params)
        if self.correction is not None:
            total = jax.tree.map(_add_wide, total, outcome.grads)
        with _alone():
            updates, own = self.rounds.inner.update(
                self._correct(outcome.grads),
                *(own, params),
                value=outcome.loss,
                gradient_at=gradient_at,
            )
        params = optax.apply_updates(params, updates)
        after = params, own, outcome.model_state, total, index + 1
        return after, (outcome.loss, outcome.metrics)

    def _correct(self, grads):
        """Return gradients with their correction."""
        if self.correction is None:
            return grads
        return jax.tree.map(lambda g, c: g + c.astype(g.dtype), grads, self.correction)

    def _run_some(self, start, batches, steps):
        """Take the first so many steps, really fewer: the loop ends there."""
        number = jax.tree.leaves(batches)[0].shape[0]
        steps = jnp.clip(steps, 0, number)

        def batch_at(index):
            return jax.tree.map(lambda x: x[index], batches)

        def turn(index, carried):
            state, sums = carried
            state, seen = self.step(state, batch_at(index))
            return state, jax.tree.map(_add_wide, sums, seen)

        shapes = jax.eval_shape(lambda s: self.step(s, batch_at(0))[1], start)
        zeros = jax.tree.map(_tree.wide_zeros, shapes)
        carried = _collectives.to_varying((start, zeros), self.rounds.axis_name)
        state, sums = jax.lax.fori_loop(0, steps, turn, carried)
        # Of no step nothing was seen: NaN, which counts in no mean.
        return state, jax.tree.map(lambda x: x / steps.astype(x.dtype), sums)


def _correction_of(drift):
    """Return what is added to a worker's gradients: what is common less its own."""
    if drift == ():
        return None
    own = _worker_state.detach_axis(drift.own)
    return jax.tree.map(jnp.subtract, drift.common, own)


def _add_wide(total, value):
    return total + value.astype(total.dtype)


def checked_rounds(
    inner: optax.GradientTransformation,
    outer: Any,
    axis_name: _collectives.AxisName,
    inner_state: Any,
    correct_drift: Any,
    per_worker_params: bool,
    global_momentum: Any,
) -> Rounds | None:
    """Return the rounds, None without an outer optimizer, or raise."""
    _checks.one_of("inner_state", inner_state, ("carry", "reset", "average"))
    _checks.flag("correct_drift", correct_drift)
    global_momentum = _checks.real(
        "global_momentum", global_momentum, 0.0, 1.0, static=True
    )
    if outer is None:
        if correct_drift:
            raise ValueError(
                "`correct_drift` is for local rounds, and there are none without "
                "`outer`."
            )
        if global_momentum:
            raise ValueError(
                "`global_momentum` is for local rounds, and there are none without "
                f"`outer`; got {global_momentum}."
            )
        if inner_state != "carry":
            raise ValueError(
                "`inner_state` says what becomes of it after a local round, and there "
                f"are none without `outer`; got {inner_state!r}."
            )
        return None
    _checks.optimizer("outer", outer)
    if per_worker_params:
        _check_for_own_params(inner_state, correct_drift, global_momentum)
    return Rounds(
        optax.with_extra_args_support(inner),
        optax.with_extra_args_support(outer),
        axis_name,
        inner_state,
        bool(correct_drift),
        per_worker_params,
        global_momentum,
    )


def _check_for_own_params(inner_state, correct_drift, global_momentum):
    """Raise for what needs a mean over all workers, or a common start."""
    wanted = None
    if correct_drift:
        wanted = "`correct_drift` must be False"
    elif global_momentum:
        wanted = "`global_momentum` must be 0"
    elif inner_state == "average":
        wanted = "`inner_state` must be 'carry' or 'reset'"
    if wanted is not None:
        raise ValueError(
            f"{wanted} where `per_worker_params` is True: workers with parameters of "
            "their own do without a mean over all of them."
        )
