"""Streaming: rounds whose fragments are exchanged one after the other.

A round of H steps has a phase for each fragment. In its phase a fragment's
displacements are exchanged, and `overlap` local steps go on before the result is used.
All phases are one program, with each exchange in its place: a collective inside of a
branch, which a counter would choose, could not overlap with anything.

The anchor, where all workers are taken to be, stands for the parameters: it is equal on
all of them, stored once, and what to evaluate. Each worker's own parameters differ from
it, and are part of the state.
"""

import dataclasses
import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _tree
from jaxdist.fragments import _fragments
from jaxdist.recipes import _gradient, _local_step, _rounds, _trial, _worker_maps
from jaxdist.workers import _weight, _worker_state


class StreamState(NamedTuple):
    """State of local rounds whose fragments are exchanged one after the other."""

    inner: Any  # a PerWorkerState; () where it is reset
    outer: tuple[Any, ...]  # of each fragment, of what its displacements go to
    own: _worker_state.PerWorkerState  # parameters of each worker; vary


class Seen(NamedTuple):
    """What a worker saw in some local steps."""

    means: Any  # of the loss and of the metrics
    number: jax.Array  # of the steps, int32, shape ()


@dataclasses.dataclass(frozen=True, eq=False)
class Streaming:
    """How workers walk on their own, and how fragments of what they found travel."""

    rounds: _rounds.Rounds
    fragments: _fragments.Fragments
    overlap: int
    keep_local: float

    @property
    def transformation(self) -> optax.GradientTransformationExtraArgs:
        """The optimizer whose gradients are displacements of all fragments."""
        return optax.GradientTransformationExtraArgs(self.init, self.update)

    def init(self, params: Any) -> StreamState:
        """Return the state before the first round."""
        axis_name = self.rounds.axis_name
        inner = ()
        if self.rounds.inner_state == "carry":
            made = self.rounds.init_walk(params)
            inner = _worker_state.attach_axis(made, axis_name)
        outer = map(self.rounds.outer.init, self.fragments.split(params))
        own = _worker_state.attach_axis(params, axis_name)
        return StreamState(inner, tuple(outer), own)

    def update(
        self, updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, StreamState]:
        """Return the steps of the outer optimizers, of all fragments at one time."""
        _checks.own_state(state, StreamState, "local rounds with fragments")
        split = self.fragments.split
        steps = [
            self.rounds.outer.update(*arguments, **self._extra(extra))
            for arguments in zip(
                *(split(updates), state.outer, split(params)), strict=True
            )
        ]
        moves = self.fragments.join(tuple(move for move, _ in steps), params)
        outer = tuple(after for _, after in steps)
        return moves, StreamState(state.inner, outer, state.own)

    def _extra(self, extra):
        """Return the extra arguments of an exchange."""
        return {**extra, "overlap": True} if self.overlap else extra

    def run(
        self,
        loss: _gradient.Loss,
        workers: _worker_maps.WorkerMap,
        state: _local_step.TrainState,
        batches: Any,
        weight: Any,
        steps: Any,
    ) -> tuple[_local_step.TrainState, dict[str, jax.Array]]:
        """Return the state after a round, and the means of the metrics.

        Args:
          loss: The loss.
          workers: How functions of one worker are mapped over all.
          state: Before the round, with arrays ``[W, ...]`` of all workers.
          batches: H of them, as `workers` maps them.
          weight: ``[W]``, or None.
          steps: How many steps each worker takes, int32 ``[W]``, or None for all.
        """
        _checks.own_state(state.opt_state, StreamState, "local rounds with fragments")
        before: StreamState = state.opt_state
        self.check_number(before, state.params)
        parts = list(self.fragments.split(state.params))
        phase = self._length_of_phase(batches, len(parts))
        outer = list(before.outer)
        walker = workers.alone(
            self._begin, (before.inner, before.own), (), state.model_state
        )
        trip = _Trip(self, loss, workers, state.key, steps, len(parts), phase)
        seen, anchors = [], state.params
        for index, anchor in enumerate(parts):
            walker, first = trip.walk(walker, batches, index, is_late=False)
            seen.append(first)
            own = self.fragments.split(walker[0])[index]
            value = first.means[0]
            parts[index], outer[index] = workers.together(
                self._exchange, (own, value, weight), anchor, outer[index]
            )
            if self.overlap:
                walker, second = trip.walk(walker, batches, index, is_late=True)
                seen.append(second)
            anchors = self.fragments.join(tuple(parts), state.params)
            merge = functools.partial(self._merge, index)
            walker = workers.alone(merge, (walker, weight), (), anchors)
        opt_state = StreamState(
            self._inner_after(workers, before.inner, walker[1], weight),
            tuple(outer),
            _worker_state.PerWorkerState(walker[0]),
        )
        state = state._replace(params=anchors, opt_state=opt_state)
        return self._finish(workers, state, walker[2], seen, weight, steps)

    def check_number(self, state: StreamState, params: Any) -> None:
        """Raise when a state was made for another number of fragments."""
        number = len(self.fragments.split(params))
        if len(state.outer) != number:
            raise ValueError(
                f"`fragments` must be as many as those of the state, "
                f"{len(state.outer)}, got {number} of {self.fragments}."
            )

    def resize_own(self, state: StreamState, params: Any, number: int) -> StreamState:
        """Return a state in which so many workers start from the anchor.

        A mean of what the old ones had would spread what one of them has that is not
        finite.
        """
        rows = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)), params
        )
        own = _worker_state.PerWorkerState(rows)
        return StreamState(state.inner, state.outer, own)

    def _length_of_phase(self, batches, number):
        """Return how many local steps a phase has, or raise."""
        leaves = jax.tree.leaves(batches)
        if not leaves:
            raise ValueError("`batch` must have arrays, got none.")
        total = leaves[0].shape[0]
        if total % number or not total:
            raise ValueError(
                "`batch` of a round must be [H, b, ...] with an H that the number of "
                f"fragments, {number}, divides, got an H of {total}."
            )
        phase = total // number
        if self.overlap >= phase:
            raise ValueError(
                "`overlap` must be less than the local steps from one exchange to the "
                f"next, which are {phase} for {total} steps and {number} fragments, "
                f"got {self.overlap}."
            )
        return phase

    def _begin(self, own, batches, model_state):
        """Return what a worker carries from step to step, before the first."""
        del batches
        inner, params = jax.tree.map(
            lambda node: node.inner_state, own, is_leaf=_worker_state.is_per_worker
        )
        if self.rounds.inner_state == "reset":
            inner = self.rounds.init_walk(params)
        return params, inner, model_state, (), jnp.int32(0)

    def _exchange(self, own, anchor, outer_state):
        """Return the new anchor of a fragment, and the state of its outer optimizer."""
        params, value, weight = own
        axis_name = self.rounds.axis_name
        extra = self._extra({"value": value})
        if weight is not None:
            extra["weight"] = _weight.weight_of_levels(weight, axis_name)
        displacement = jax.tree.map(jnp.subtract, anchor, params)
        new, outer_state = _local_step.update_params(
            self.rounds.outer, axis_name, displacement, outer_state, anchor, **extra
        )
        if _collectives.types_tracked(axis_name):
            _trial.check_same_everywhere(new, outer_state, axis_name, False)
        return new, outer_state

    def _merge(self, index, own, batches, anchors):
        """Let a worker go on from the new anchor of a fragment, or between both."""
        del batches
        (params, *others), weight = own
        counts = _tree.is_finite(params)
        if weight is not None:
            counts &= _weight.own_weight(weight, self.rounds.axis_name) > 0
        parts = list(self.fragments.split(params))
        parts[index] = jax.tree.map(
            self._mixed, parts[index], self.fragments.split(anchors)[index]
        )
        mixed = self.fragments.join(tuple(parts), params)
        # Who was absent or is not finite has nothing to go on from, in no fragment.
        params = jax.tree.map(lambda x, a: jnp.where(counts, x, a), mixed, anchors)
        return params, *others

    def _mixed(self, own, new):
        """Return the part of a fragment with which a worker goes on."""
        share = self.keep_local
        if share in (0, 1) or not jnp.issubdtype(new.dtype, jnp.inexact):
            return own if share == 1 else new
        mixed = (1 - share) * _tree.widened(new) + share * _tree.widened(own)
        return mixed.astype(new.dtype)

    def _inner_after(self, workers, before, after, weight):
        """Return the states of the inner optimizers; who was absent keeps its own."""
        if self.rounds.inner_state == "reset":
            return before
        if weight is None:
            return _worker_state.PerWorkerState(after)

        def choose(own, batches, common):
            del batches, common
            old, new, weight = own
            here = _weight.own_weight(weight, self.rounds.axis_name) > 0
            return jax.tree.map(lambda x, y: jnp.where(here, x, y), new, old)

        own = before.inner_state, after, weight
        return _worker_state.PerWorkerState(workers.alone(choose, own, (), ()))

    def _finish(self, workers, state, model_state, seen, weight, steps):
        """Return the state with a model state of all, and the means of the metrics."""
        axis_name = self.rounds.axis_name

        def finish(own, common, marked):
            model_state, seen, weight = own
            (value, metrics), number = _seen_in_all(seen)
            has_seen = None if steps is None else number > 0
            outcome = _gradient.Outcome(
                *(value, metrics, model_state, ()), has_seen=has_seen
            )
            rest, means = _local_step.finish_step(
                axis_name, False, common, outcome, weight
            )
            return (rest, means), marked

        rest = state._replace(params=(), opt_state=())
        own = model_state, seen, weight
        (rest, means), _ = workers.together(finish, own, rest, ())
        return rest._replace(params=state.params, opt_state=state.opt_state), means


class _Trip(NamedTuple):
    """What all walks of a round have in common."""

    streaming: Streaming
    loss: _gradient.Loss
    workers: _worker_maps.WorkerMap
    words: Any  # of the key of the round, or ()
    steps: Any  # how many each worker takes in all, or None
    num_phases: int
    phase: int  # local steps of each

    def walk(self, walker, batches, index, is_late):
        """Return where a part of a phase leads the workers, and what they saw.

        Args:
          walker: What each worker carries from step to step.
          batches: Of the whole round.
          index: Of the phase.
          is_late: Whether it is the part after the exchange began.
        """
        end = (index + 1) * self.phase
        middle = end - self.streaming.overlap
        begin, end = (middle, end) if is_late else (end - self.phase, middle)
        function = functools.partial(self._walk_alone, index, is_late)
        return self.workers.alone(
            function,
            (walker, self.steps),
            jax.tree.map(lambda x: x[begin:end], batches),
            self.words,
        )

    def _walk_alone(self, index, is_late, own, batches, words):
        walker, steps = own
        rounds = self.streaming.rounds
        key = None
        if not isinstance(words, tuple):
            now, _ = _random.split_data(words)
            key = _random.own_key(now, _collectives.axis_index(rounds.axis_name))
        if steps is not None:
            steps = self._steps_of_part(steps, index, is_late)
        walk = _rounds.Walk(rounds, self.loss, key, None)
        after, means = walk.run(walker, batches, steps)
        return after, Seen(means, after[-1] - walker[-1])

    def _steps_of_part(self, steps, index, is_late):
        """Return how many steps a worker takes in a part: as many in each phase."""
        steps = jnp.clip(steps, 0, self.phase * self.num_phases)
        in_phase = steps * (index + 1) // self.num_phases
        in_phase -= steps * index // self.num_phases
        early = jnp.minimum(in_phase, self.phase - self.streaming.overlap)
        return in_phase - early if is_late else early


def _seen_in_all(seen):
    """Return the means of what was seen in all parts of a round, and of how many."""
    number = functools.reduce(operator.add, [part.number for part in seen])

    def mean(*leaves):
        total = jnp.zeros((), _tree.accumulator_dtype(leaves[0].dtype))
        for leaf, part in zip(leaves, seen, strict=True):
            share = part.number.astype(total.dtype)
            # Of no step nothing was seen: NaN.
            here = jnp.where(part.number > 0, leaf, jnp.zeros_like(leaf))
            total = total + here.astype(total.dtype) * share
        return total / number.astype(total.dtype)

    return jax.tree.map(mean, *(part.means for part in seen)), number


def streaming_of(
    state: Any, rounds: _rounds.Rounds | None, fragments: Any
) -> Streaming | None:
    """Return how the rounds stream that left a state; None where they do not.

    Args:
      state: Of the optimizer.
      rounds: That made it, or None.
      fragments: As for the recipes; None where they were None there too.
    """
    is_stream = isinstance(state, StreamState)
    if is_stream and fragments is None:
        fragments = _fragments.whole()
    streaming = checked_streaming(rounds, fragments, 0, 0.0)
    if streaming is not None:
        _checks.own_state(state, StreamState, "local rounds with fragments")
    return streaming


def transformation_of(
    tx: optax.GradientTransformation,
    rounds: _rounds.Rounds | None,
    streaming: Streaming | None,
) -> optax.GradientTransformation:
    """Return the optimizer that makes the state: of steps, rounds, or a stream."""
    if streaming is not None:
        return streaming.transformation
    return tx if rounds is None else rounds.transformation


def checked_streaming(
    rounds: _rounds.Rounds | None, fragments: Any, overlap: Any, keep_local: Any
) -> Streaming | None:
    """Return how rounds stream, None where all leaves travel at once, or raise."""
    overlap = _checks.integer("overlap", overlap, 0)
    keep_local = float(_checks.real("keep_local", keep_local, 0.0, 1.0, static=True))
    if fragments is not None:
        _checks.instance(
            *("fragments", fragments, _fragments.Fragments),
            "jaxdist.fragments.strided(8)",
        )
    if fragments is None and not overlap and not keep_local:
        return None
    if rounds is None:
        raise ValueError(
            "`fragments`, `overlap` and `keep_local` are for local rounds, and there "
            "are none without `outer`."
        )
    if rounds.per_worker_params:
        raise ValueError(
            "`per_worker_params` must be False with `fragments`, `overlap` or "
            "`keep_local`: there must be an anchor that is equal on all workers."
        )
    if rounds.global_momentum:
        raise ValueError(
            "`global_momentum` must be 0 with `fragments`, `overlap` or `keep_local`, "
            "where workers do not begin a round where the last one began, got "
            f"{rounds.global_momentum}."
        )
    if rounds.correct_drift:
        raise ValueError(
            "`correct_drift` must be False with `fragments`, `overlap` or "
            "`keep_local`: it compares gradients of rounds that all workers begin at "
            "the same parameters."
        )
    if rounds.inner_state == "average":
        raise ValueError(
            "`inner_state` must be 'carry' or 'reset' with `fragments`, `overlap` or "
            "`keep_local`: workers never have the same parameters, for which one state "
            f"of all would be, got {rounds.inner_state!r}."
        )
    return Streaming(rounds, fragments or _fragments.whole(), overlap, keep_local)
