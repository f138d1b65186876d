"""Simulate async: training in simulated time, one update of the server in a step.

A step first lets the clock run to the next update, which touches arrays of one number
per worker, and then computes the gradients of the K mini-batches that make it. The K
meet under one mapped axis, so that every compressor, rule and attack composes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _tree
from jaxdist.recipes import (
    _batches,
    _coded,
    _gradient,
    _local_step,
    _model_state,
    _rounds,
    _rows,
    _trial,
)
from jaxdist.timing import _adasync, _clock, _law, _protocol, _simulate_clock
from jaxdist.workers import _arrival, _worker_state


class AsyncState(NamedTuple):
    """What a training in simulated time carries on."""

    params: Any  # parameters of the server; or [W, ...], each worker's own
    opt_state: Any  # state of the optimizer; rows [W, ...] of what is each worker's own
    copies: Any  # [W, ...]: what each worker computes on; () where all have `params`
    clock: _clock.Clock
    pace: _adasync.PaceState | tuple[()] = ()  # of `adasync`


class AsyncInit(Protocol):
    """Makes what a training in simulated time carries on."""

    def __call__(self, params: Any) -> AsyncState:
        """Return the state before the first update."""
        ...


class AsyncStep(Protocol):
    """One update in simulated time."""

    def __call__(
        self, state: AsyncState, batch: Any
    ) -> tuple[AsyncState, dict[str, jax.Array]]:
        """Return the state after the update, and its metrics."""
        ...


def simulate_async(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    num_workers: int,
    axis_name: str,
    *,
    protocol: _protocol.Protocol,
    compute_time: _law.Law | _law.LawFunction,
    key: int | jax.Array = 0,
    has_aux: bool = False,
    per_worker_params: bool = False,
    outer: optax.GradientTransformation | None = None,
    inner_state: _rounds.InnerState = "carry",
    correct_drift: bool = False,
    global_momentum: float = 0.0,
) -> tuple[AsyncInit, AsyncStep]:
    """Return ``(init, step)`` that train W workers in simulated time on one device.

    Workers take random or recorded times; a protocol decides whose gradients make the
    next update, and which parameters each worker reads. One step is one update of the
    server. All gradients are real; only the time is simulated.

    Args:
      loss_fn: As in :func:`data_parallel`; it must not draw or carry a model state.
      tx: The whole optimizer, as in :func:`data_parallel`. Its mapped axis holds the K
        mini-batches of an update, sorted by worker. Besides ``value`` it gets
        ``staleness``, the age of this gradient in updates (int32, shape ());
        ``stale_params``, what it was computed on; and ``arrival``, an
        :class:`Arrival`. What :func:`per_worker`, compressors and memories keep goes
        where the worker goes.
      num_workers: W.
      axis_name: Name of the mapped axis.
      protocol: Such as :func:`jaxdist.timing.k_async`.
      compute_time: Seconds of a mini-batch, such as
        :func:`jaxdist.timing.exponential`, or ``(key, worker, draw) -> seconds``.
      key: Seed or key of the times.
      has_aux: As in :func:`data_parallel`.
      per_worker_params: Whether each worker has parameters of its own, as for
        :func:`pull_to_leader` and :func:`pull_to_center`. There is no server then:
        whoever arrives steps.
      outer: As in :func:`data_parallel`: a worker takes H steps of its own before it
        arrives with its displacement, and ``compute_time`` is that of its whole round.
        With :func:`jaxdist.timing.k_sync` and equal workers, each round samples K of W
        clients; :func:`jaxdist.timing.k_batch_async` is a server with a buffer.
      inner_state: As in :func:`data_parallel`.
      correct_drift: As in :func:`data_parallel`.
      global_momentum: As in :func:`data_parallel`.

    Returns:
      ``init(params) -> AsyncState`` and ``step(state, batch) -> (state, metrics)``,
      jitted; ``step`` donates the state. Arrays of the batch have a leading axis that W
      divides, worker i's part in place i, whether it arrives or not; with protocols
      that take several mini-batches of a worker they are ``[K, W * b, ...]``, and the
      n-th that a worker brings to an update comes from the n-th. With ``outer`` an
      axis of H comes before that of the workers. With
      :func:`jaxdist.timing.until_decodable` the batch is that of all units, in order.
      The metrics hold ``"loss"`` and those of ``loss_fn``, as means over the K;
      ``"time"``, in seconds; ``"staleness"`` and ``"worker"``, int32 ``[K]``.

    Raises:
      TypeError: If ``loss_fn`` or ``compute_time`` is no function, or ``protocol`` is
        no protocol.
      ValueError: If ``num_workers`` is below 1 or does not fit the protocol or the law;
        in ``init``, as :func:`data_parallel` raises, and if workers remember something
        of their own though the protocol may take several mini-batches of one worker;
        in ``step``, if the batch does not fit, or the rule of :func:`aggregate` cannot
        work with K.

    Shapes:
      copies: W times the parameters, for protocols that are not synchronous: a thousand
        workers with a model of a million parameters need 4 GB. Gradients are K times
        the parameters.

    Communication:
      None. Nothing waits for less than everybody on a real mesh; this is a simulation.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> tx = optax.chain(jaxdist.aggregate("worker"), optax.sgd(0.1))
      >>> timing = jaxdist.timing
      >>> init, step = jaxdist.simulate_async(
      ...     loss,
      ...     tx,
      ...     4,
      ...     "worker",
      ...     protocol=timing.k_async(2),
      ...     compute_time=timing.exponential(1.0),
      ... )
      >>> state = init(jnp.zeros(()))
      >>> while state.clock.time < 20.0:
      ...     state, metrics = step(state, jnp.ones(4))
      >>> print(metrics["worker"].shape, round(float(state.params), 2))
      (2,) 1.0

    References:
      Dutta et al., `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/1803.01113>`_, 2018.
    """
    _checks.optimizer("tx", tx)
    _checks.axis_name(axis_name)
    _checks.flag("per_worker_params", per_worker_params)
    _protocol.check_protocol(protocol)
    race = _protocol.checked_race(compute_time, num_workers, "compute_time")
    protocol.check(race.num_workers)
    if per_worker_params and (
        protocol.most_visits(race.num_workers) or protocol.code is not None
    ):
        raise ValueError(
            f"`protocol` must let each worker bring one mini-batch of its own to an "
            f"update where `per_worker_params` is True, such as "
            f"jaxdist.timing.k_async(1), got {protocol.name}."
        )
    rounds = _rounds.checked_rounds(
        tx,
        outer,
        axis_name,
        inner_state,
        correct_drift,
        per_worker_params,
        global_momentum,
    )
    if rounds is not None and protocol.code is not None:
        raise ValueError(
            f"`outer` must be None with {protocol.name}: codes recover the sum of "
            "gradients, and displacements of local rounds are none."
        )
    if global_momentum and not protocol.is_synchronous:
        raise ValueError(
            f"`global_momentum` must be 0 with {protocol.name}, got {global_momentum}: "
            "workers that begin at different times have no last round in common. Use "
            "jaxdist.timing.k_sync or k_batch_sync."
        )
    simulation = _Simulation(
        _gradient.checked_loss(loss_fn, has_aux),
        tx if rounds is None else rounds.transformation,
        race,
        axis_name,
        protocol,
        _simulate_clock.start_stream(key),
        per_worker_params,
        functools.cache(protocol.pace.make if protocol.pace else lambda k: protocol),
        rounds,
    )
    return simulation.init, simulation.step


# The object itself is what a compiled step belongs to.
@dataclasses.dataclass(frozen=True, eq=False)
class _Simulation:
    """What :func:`simulate_async` was asked for, checked."""

    loss: _gradient.Loss
    tx: optax.GradientTransformation
    race: _clock.Race
    axis_name: str
    protocol: _protocol.Protocol
    stream: _random.Stream
    per_worker_params: bool
    with_arrivals: Callable[[int], _protocol.Protocol]  # the same object for the same K
    rounds: _rounds.Rounds | None

    def init(self, params: Any) -> AsyncState:
        """Return the state before the first update."""
        _tree.check_arrays("params", params)
        opt_state = jax.eval_shape(self._init_optimizer, params)
        self._check_optimizer(params, opt_state)
        return self._make_state(params)

    def step(
        self, state: AsyncState, batch: Any
    ) -> tuple[AsyncState, dict[str, jax.Array]]:
        """Return the state after an update, and the metrics."""
        protocol = self.protocol
        if protocol.pace is not None:
            _checks.own_state(state.pace, _adasync.PaceState, protocol.name)
            assert isinstance(state.pace, _adasync.PaceState)  # for type checkers
            protocol = self.with_arrivals(int(state.pace.num_arrivals))
        return self._run(protocol, state, batch)

    @functools.partial(jax.jit, static_argnums=0)
    def _make_state(self, params):
        number = self.race.num_workers
        own = number if self.per_worker_params else None
        return AsyncState(
            _rows.copy_leaves(params, own),
            self._init_optimizer(params),
            _rows.copy_leaves(params, number) if self._keeps_copies else (),
            self.race.start_clock(self.stream),
            () if self.protocol.pace is None else self.protocol.pace.start(),
        )

    @property
    def _loss(self):
        """The loss whose gradient a worker sends."""
        code = self.protocol.code
        is_linear = code is not None and code.coefficients is not None
        return _coded.loss_of_message(self.loss) if is_linear else self.loss

    def _meets_everybody(self, protocol):
        """Whether all W meet in every update, each once."""
        is_plain = not protocol.repeats and protocol.code is None
        return is_plain and protocol.num_arrivals == self.race.num_workers

    @property
    def _keeps_copies(self):
        """Whether workers compute on other parameters than those of the server."""
        return not (self.protocol.is_synchronous or self.per_worker_params)

    def _init_optimizer(self, params, number=None):
        """Return a state with W rows of workers, and K rows of places."""
        meeting = number or self.protocol.num_arrivals
        everyone, places = (
            _rows.init_rows(self.tx, params, self.axis_name, size)
            for size in (self.race.num_workers, meeting)
        )
        return _rows.merge_rows(everyone, places)

    def _check_optimizer(self, params, opt_state):
        """Raise when the optimizer does not fit the protocol."""
        protocol = self.protocol
        sizes = {self.axis_name: protocol.num_arrivals}
        own = self.per_worker_params
        _trial.try_optimizer(
            self.tx, params, self.axis_name, sizes, own, self._trial_extra
        )
        allows = protocol.allows_memory(self.race.num_workers)
        if not allows and _rows.has_rows_of_workers(opt_state):
            raise ValueError(
                "`tx` keeps something for each worker, such as a residual, but with "
                f"{protocol.name} a worker may bring several messages to one update, "
                "or each time others. Use jaxdist.timing.k_sync, k_async or a code "
                "whose workers hold one block each, or a `tx` without error feedback, "
                "per_worker and the like."
            )
        if protocol.pace is not None:
            self._check_pace(params, opt_state)

    def _check_pace(self, params, opt_state):
        """Raise when the optimizer keeps something of a size that depends on K."""
        largest = max(self.protocol.pace.all_choices(self.race.num_workers))
        other = jax.eval_shape(
            functools.partial(self._init_optimizer, number=largest), params
        )
        pairs = zip(
            _tree.named_leaves(opt_state), _tree.named_leaves(other), strict=True
        )
        for (name, leaf), (_, wide) in pairs:
            if leaf.shape != wide.shape:
                raise ValueError(
                    f"`tx` keeps something for each of the K who meet (leaf {name!r}), "
                    f"but {self.protocol.name} changes K. Use aggregate(..., "
                    'route="gather") without `metrics`, or a protocol with a fixed K.'
                )

    def _trial_extra(self, own, common):
        """Return what an update gets, with the types that it has."""
        number = _collectives.to_varying(jnp.zeros((), jnp.int32), self.axis_name)
        all_params = None
        if self.per_worker_params:
            all_params = _rows.copy_leaves(common, self.race.num_workers)
        arrival = _arrival.Arrival(
            *(number, number, self.race.num_workers, all_params),
            everybody=self._meets_everybody(self.protocol),
        )
        return {"staleness": number, "stale_params": own, "arrival": arrival}

    @functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
    def _run(self, protocol, state, batch):
        clock, arrivals = protocol.wait(self.race, state.clock)
        staleness = state.clock.updates - arrivals.version
        # Sorted by worker, all workers need no gather.
        everybody = self._meets_everybody(protocol)
        meeting = _Meeting(arrivals, staleness, None if everybody else arrivals.worker)
        parts = self._take_parts(batch, meeting)
        params, opt_state, metrics = self._update(state, meeting, parts)
        copies = state.copies
        if self._keeps_copies:
            copies = _read_params(protocol, state, params, clock, arrivals)
        pace = state.pace
        if self.protocol.pace is not None:
            pace = self.protocol.pace.follow(
                pace, clock, metrics["loss"], self.race.num_workers
            )
        noted = {
            "time": clock.time,
            "staleness": staleness,
            "worker": arrivals.worker,
        }
        if taken := sorted(noted.keys() & metrics.keys()):
            raise ValueError(
                f"`loss_fn` must not return metrics called {taken}: those of the "
                "simulated time have these names."
            )
        return AsyncState(params, opt_state, copies, clock, pace), metrics | noted

    def _take_parts(self, batch, meeting):
        """Return the mini-batches ``[K, b, ...]`` of those who meet."""
        number, arrivals = self.race.num_workers, meeting.arrivals
        if self.protocol.code is not None:
            return _coded.take_blocks(self.protocol.code, batch, arrivals)
        most = self.protocol.most_visits(number)
        before = 0 if self.rounds is None else 1
        if most:
            parts = _split_visits(batch, number, most, before)
            return jax.tree.map(lambda x: x[arrivals.visit, arrivals.worker], parts)
        parts = _batches.split_batch(batch, number, before)
        parts = jax.tree.map(lambda x: jnp.moveaxis(x, before, 0), parts)
        return meeting.take_tree(parts)

    def _snapshots_of(self, copies, params, meeting):
        """Return what the gradients are computed on."""
        if not self._keeps_copies:
            return params
        copies = meeting.take_tree(copies)
        most = self.protocol.most_visits(self.race.num_workers)
        if not (most or self.protocol.rereads):
            return copies
        # Some have read the parameters since the last update.
        is_new = meeting.staleness == 0
        return jax.tree.map(
            lambda new, old: _choose_rows(is_new, new, old, new), params, copies
        )

    def _find_gradient(self, params, opt_state, part):
        """Return what a worker finds out about its mini-batch, or in its round."""
        if self.rounds is not None:
            return self.rounds.walk(self.loss, params, opt_state, (), part, None, None)
        return _coded.own_loss(
            _gradient.differentiate(self._loss, self.axis_name, params, (), part, None)
        )

    def _update(self, state, meeting, parts):
        """Return parameters and state of the optimizer after the K have met."""
        arrivals, axis_name = meeting.arrivals, self.axis_name
        own = self.per_worker_params
        params = meeting.take_tree(state.params) if own else state.params
        snapshots = self._snapshots_of(state.copies, params, meeting)
        opt_state = meeting.take_rows(state.opt_state)

        def worker(params, snapshot, opt_state, part, arrivals, staleness):
            # Inside, a slice has a leading axis of size 1, as on a mesh.
            opt_state = _worker_state.map_slices(lambda leaf: leaf[None], opt_state)
            outcome = self._find_gradient(snapshot, opt_state, part)
            params, opt_state = _local_step.update_params(
                *(self.tx, axis_name, _share_of(outcome.grads, arrivals.share)),
                *(opt_state, params),
                **({} if self.rounds is None else {"walked": outcome.walked}),
                value=outcome.loss,
                staleness=staleness,
                stale_params=snapshot,
                arrival=_arrival.Arrival(
                    arrivals.worker,
                    arrivals.count,
                    self.race.num_workers,
                    state.params if own else None,
                    everybody=meeting.workers is None,
                ),
            )
            metrics = {"loss": outcome.loss, **outcome.metrics}
            means = _model_state.means_over_workers(
                metrics, _presence_of(arrivals.share), axis_name
            )
            opt_state = _worker_state.map_slices(lambda leaf: leaf[0], opt_state)
            return params, opt_state, means

        axes = _rows.axes_of(opt_state)
        params_axis = 0 if own else None
        snapshot_axis = 0 if own or self._keeps_copies else None
        params, opt_state, metrics = jax.vmap(
            worker,
            (params_axis, snapshot_axis, axes, 0, 0, 0),
            (params_axis, axes, None),
            axis_name=axis_name,
        )(params, snapshots, opt_state, parts, arrivals, meeting.staleness)
        if own:
            params = meeting.put_tree(params, state.params)
        return params, meeting.put_rows(opt_state, state.opt_state), metrics


class _Meeting(NamedTuple):
    """The K mini-batches of an update."""

    arrivals: _clock.Arrivals
    staleness: jax.Array  # int32 [K]
    workers: jax.Array | None  # int32 [K]; None where all W meet, in order

    def take_tree(self, tree):
        """Return the rows of those who meet, of a tree ``[W, ...]``."""
        workers = self.workers
        if workers is None:
            return tree
        return jax.tree.map(lambda leaf: _rows.take_leaf(leaf, workers), tree)

    def put_tree(self, rows, before):
        """Return the tree ``[W, ...]`` with the rows of those who met."""
        workers = self.workers
        if workers is None:
            return rows
        return jax.tree.map(
            lambda old, new: _rows.put_leaf(old, workers, new), before, rows
        )

    def take_rows(self, opt_state):
        """Return the state of the optimizer with the rows of those who meet."""
        if self.workers is None:
            return opt_state
        return _rows.take_rows(opt_state, self.workers)

    def put_rows(self, opt_state, before):
        """Return the state of the optimizer with all rows."""
        if self.workers is None:
            return opt_state
        return _rows.put_rows(opt_state, self.workers, before)


def _share_of(grads, share):
    """Return the gradients times their share; what has none may be anything."""
    if share is None:
        return grads
    return jax.tree.map(
        lambda g: jnp.where(share != 0, g * share.astype(g.dtype), jnp.zeros_like(g)),
        grads,
    )


def _presence_of(share):
    """Return how much a worker counts in the means of the metrics, or None."""
    return None if share is None else (share != 0).astype(jnp.float32)


def _read_params(protocol, state, params, clock, arrivals):
    """Return what each worker computes on from now on."""
    workers, old = arrivals.worker, state.params
    if protocol.rereads:
        has_read = clock.version != state.clock.version
        is_new = clock.version == clock.updates

        def read(copies, before, after):
            seen = _choose_rows(is_new, after, before, before)
            return _choose_rows(has_read, seen, copies, before)

        return jax.tree.map(read, state.copies, old, params)
    is_new = clock.version[workers] == clock.updates

    def read_rows(copies, before, after):
        rows = _choose_rows(is_new, after, before, before)
        return _rows.put_leaf(copies, workers, rows)

    return jax.tree.map(read_rows, state.copies, old, params)


def _choose_rows(chosen, new, old, like):
    """Return rows ``[n, ...]`` of the first where chosen ``[n]``, else of the second.

    Either may lack the axis of rows, and is the same for all; ``like`` lacks it.
    """
    return jnp.where(chosen.reshape(-1, *(1,) * jnp.ndim(like)), new, old)


def _split_visits(batch, num_workers, most, before):
    """Cut ``[most, W * b, ...]`` into ``[most, W, b, ...]``; of rounds with H as well.

    ``[most, H, W * b, ...]`` becomes ``[most, W, H, b, ...]``.
    """
    wanted = f"[{most}, {'H, ' * before}{num_workers} * b, ...]"
    axis = 1 + before

    def cut(path, leaf):
        shape = jnp.shape(leaf)
        if len(shape) <= axis or shape[0] != most or shape[axis] % num_workers:
            raise ValueError(
                f"`batch` must be {wanted}, since a worker may bring up to {most} "
                "mini-batches to an update and needs other examples each time, but "
                f"leaf {_tree.path_name(path)!r} has shape {shape}."
            )
        parts = jnp.reshape(leaf, (*shape[:axis], num_workers, -1, *shape[axis + 1 :]))
        return jnp.moveaxis(parts, axis, 1)

    return jax.tree.map_with_path(cut, batch)
