"""Data parallel: from a loss and an optimizer to a step on many devices."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax import core
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdist import _checks, _collectives, _random
from jaxdist.fragments import _fragments
from jaxdist.layout import _init, _state_specs
from jaxdist.recipes import (
    _batches,
    _gradient,
    _local_step,
    _model_state,
    _rounds,
    _streaming,
    _trial,
    _worker_maps,
)
from jaxdist.workers import _shards


def data_parallel(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    mesh: Mesh,
    axis_name: _collectives.AxisName,
    *,
    has_aux: bool = False,
    has_state: bool = False,
    micro_batches: int = 1,
    unroll: bool = False,
    key: int | jax.Array | None = None,
    per_worker_params: bool = False,
    outer: optax.GradientTransformation | None = None,
    inner_state: _rounds.InnerState = "carry",
    correct_drift: bool = False,
    global_momentum: float = 0.0,
    fragments: _fragments.Fragments | None = None,
    overlap: int = 0,
    keep_local: float = 0.0,
) -> tuple[_local_step.Init, _local_step.JittedStep]:
    r"""Return ``(init, step)`` that train on a mesh, one worker per device.

    Args:
      loss_fn: ``(params, batch) -> loss`` of one worker's part of the batch, a scalar.
        With ``has_state`` it takes ``(params, model_state, batch)``, with ``key`` also
        ``key=``. With ``has_aux`` or ``has_state`` it returns a tuple: the loss, a dict
        of metrics where it has them, the new model state where it has one.
      tx: The whole optimizer, with :func:`aggregate` (or, with ``per_worker_params``,
        perhaps :func:`pull_to_leader`) in it. It gets each worker's loss as ``value=``.
      mesh: Mesh with the axis or axes of the workers, of one process or many.
      axis_name: Their name.
      has_aux: Whether ``loss_fn`` returns metrics.
      has_state: Whether the model has a state, such as the statistics of BatchNorm.
        After each step it is the mean of all workers' states (of integers the largest).
      micro_batches: How many parts of a worker's batch are differentiated one after
        the other, to need less memory. Their mean gradient is sent once.
      unroll: Whether local steps and micro-batches are written out one after the other
        instead of as a loop. XLA on CPUs runs convolutions inside of a loop several
        times slower than outside. The program grows with their number, and so does the
        time to compile it.
      key: Seed or key for what ``loss_fn`` draws, such as dropout: each worker, step
        and micro-batch gets a key of its own. None where it draws nothing.
      per_worker_params: Whether each worker has parameters and a model state of its
        own. They start equal, and have a leading axis of W, sharded over ``axis_name``.
      outer: For local rounds: every worker takes H steps with ``tx``, which must not
        communicate, and what :func:`aggregate` in ``outer`` makes of the W
        displacements, start minus end, is what ``outer`` steps with. ``optax.sgd(1.0)``
        behind it averages the parameters (local SGD); ``optax.sgd(0.7, momentum=0.9,
        nesterov=True)`` is DiLoCo. With ``per_worker_params`` the workers start a round
        where each ended the last, and ``outer`` holds :func:`mix_with_neighbors`.
      inner_state: What becomes of the state of ``tx`` after a round: each worker
        carries on its own, it is reset, or it is averaged, which sends it.
      correct_drift: Whether each worker's gradients are corrected by how far its mean
        gradient of the last round was from that of all (SCAFFOLD), for workers with
        different data. It sends one more all-reduce of the parameters' size in a round.
      global_momentum: :math:`\mu` in [0, 1], no unit: the share that is subtracted from
        each displacement of the one from where the last round began, with the same
        batches and twice the gradients. With ``momentum=`` :math:`\mu` of ``outer``
        this is FedGLOMO: the momentum of displacements, without their noise.
      fragments: Which parameters are exchanged together, for rounds that stream, such
        as ``jaxdist.fragments.strided(8)``. A round of H steps has a phase of H / n for
        each of the n fragments, at the end of which the fragment is exchanged; 0 is the
        first. Each has a state of ``outer`` of its own. Workers then have parameters of
        their own in ``state.opt_state.own``, and ``state.params`` is the anchor from
        which displacements are taken. None for one fragment with all parameters.
      overlap: In local steps, less than H / n: how many a worker takes between the
        start of an exchange and the use of its result, so that the message travels
        meanwhile. The displacement is that of the start.
      keep_local: Share in [0, 1], no unit, of a worker's own parameters in those with
        which it goes on after an exchange; 0 takes the new anchor, 1 ignores it.

    Returns:
      ``init(params, model_state=()) -> TrainState`` copies the parameters and puts them
      and the state of ``tx`` on the mesh. ``step(state, batch, weight=None, steps=None)
      -> (state, metrics)`` is jitted, donates the state, and has the ``lower`` of a
      jitted function. Arrays of the batch have a leading axis that W divides, and are
      sharded over it; NumPy arrays are this process' part of the batch. With ``outer``
      they are ``[H, W * b, ...]``, a batch for each local step, and ``steps`` ``[W]``,
      int32, lets each worker take only the first so many of them. The metrics hold
      ``"loss"`` and those of ``loss_fn``, as means over the workers, and over the steps
      that each took. ``weight`` ``[W]``, sharded as the batch is, says how much each
      worker counts, in the means too; 0 is absent: see :func:`aggregate`. With several
      levels of :func:`aggregate`, a group counts as much as all of its workers.
      ``state.params`` is what to evaluate and to publish, in rounds that stream too;
      there ``steps`` are spread over the phases, and a worker that is absent or not
      finite goes on from the anchor.

      Parameters may be sharded over other axes of the mesh, as inside of a pod (FSDP,
      tensor parallel); a worker is then a pod. They keep their sharding, residuals and
      moments take it, and each device compresses and sends its own shards, so that a
      pod sends each element once. Compressors take a shard for a leaf; distances and
      norms of rules are those of the whole gradient. Such axes should be of the type
      ``Auto``: JAX gathers leaves of an ``Explicit`` axis inside of the pod. A ``step``
      inside of a ``jit`` or ``scan`` takes the parameters to be sharded as those were
      that ``init`` got; without a call of ``init`` before, say so with
      :func:`per_shard`.

    Raises:
      TypeError: If ``loss_fn`` is no function, or ``fragments`` are none.
      ValueError: If the mesh has no such axis, or ``micro_batches`` is below 1; if
        ``overlap`` is negative or ``keep_local`` outside of [0, 1]; if options of
        rounds come without ``outer``; if ``correct_drift``, ``global_momentum`` or the
        mean of inner states comes with ``per_worker_params``, or one of these four with
        ``fragments``, ``overlap`` or ``keep_local``; if there is nothing to ``unroll``;
        when called, if ``steps`` comes with ``unroll``, if H is no multiple of n or
        ``overlap`` not less than H / n, if W or ``micro_batches`` does not divide a
        batch, if the updates differ between workers though the parameters must not, if
        ``loss_fn`` returns something else than it should, if the model state holds a
        key, or as :func:`state_specs` raises.

    Communication:
      That of ``tx``, and an all-reduce of the metrics and of the model state. With
      ``outer`` that of ``outer``, once for H steps, with none in the local steps;
      ``communication_report(outer, ...)`` says how much. With ``fragments`` it says so
      for each exchange: ``communication_report(outer, part, W, overlap=overlap > 0)``
      for each ``part`` of ``fragments.split(params)``.

    References:
      Douillard et al., `DiLoCo: Distributed Low-Communication Training of Language
      Models <https://arxiv.org/abs/2311.08105>`_, 2023, for ``outer``. Douillard et
      al., `Streaming DiLoCo with overlapping communication
      <https://arxiv.org/abs/2501.18512>`_, 2025, for ``fragments``, ``overlap`` and
      ``keep_local``.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> tx = optax.chain(jaxdist.aggregate("data"), optax.sgd(0.5))
      >>> mesh = jax.make_mesh((1,), ("data",))
      >>> init, step = jaxdist.data_parallel(loss, tx, mesh, "data")
      >>> state, metrics = step(init(jnp.zeros(())), jnp.array([1.0, 3.0]))
      >>> print(state.params, metrics["loss"])
      2.0 5.0
    """
    _checks.optimizer("tx", tx)
    _init.check_mesh(mesh, axis_name)
    _checks.flag("per_worker_params", per_worker_params)
    rounds = _rounds.checked_rounds(
        tx,
        outer,
        axis_name,
        inner_state,
        correct_drift,
        per_worker_params,
        global_momentum,
    )
    streaming = _streaming.checked_streaming(rounds, fragments, overlap, keep_local)
    training = _Training(
        _gradient.checked_loss(
            loss_fn,
            has_aux,
            has_state,
            micro_batches,
            unroll,
            has_rounds=rounds is not None,
        ),
        _streaming.transformation_of(tx, rounds, streaming),
        mesh,
        axis_name,
        () if key is None else _random.key_data(key),
        per_worker_params,
        rounds,
        streaming,
    )
    return training.init, _JittedStep(training)


@dataclasses.dataclass(frozen=True)
class _JittedStep:
    """The step of a training; see :class:`_local_step.JittedStep`."""

    training: "_Training"

    def __call__(self, state, batch, weight=None, steps=None):
        """Return the state after a step, and the metrics."""
        return _Training.run(self.training, *self._place(state, batch, weight, steps))

    def lower(self, state, batch, weight=None, steps=None):
        """Return the program of such a step."""
        arguments = self._place(state, batch, weight, steps)
        return _Training.run.lower(self.training, *arguments)

    def _place(self, state, batch, weight, steps):
        return self.training.place_arguments(state, batch, weight, steps)


# The object itself is what a compiled step belongs to.
@dataclasses.dataclass(frozen=True, eq=False)
class _Training:
    """What :func:`data_parallel` was asked for, checked."""

    loss: _gradient.Loss
    tx: optax.GradientTransformation
    mesh: Mesh
    axis_name: _collectives.AxisName
    words: Any  # of the first key, or ()
    per_worker_params: bool
    rounds: _rounds.Rounds | None
    streaming: _streaming.Streaming | None
    # How the leaves were sharded that `init` got; what is traced does not say.
    seen: list[_shards.Shards | None] = dataclasses.field(default_factory=list)

    def init(self, params: Any, model_state: Any = ()) -> _local_step.TrainState:
        """Return the state before the first step, on the mesh."""

        def make(params, model_state):
            stacked = self._stack((params, model_state))
            opt_state = _shards.place_like_leaves(self.tx.init(params))
            return _local_step.TrainState(stacked[0], opt_state, stacked[1], self.words)

        _model_state.check_model_state(model_state)
        shards = self._known_shards(params, num_leading=0)
        if not _is_traced(params):
            self.seen[:] = [shards]
        with _shards.declare(shards):
            specs = self._specs(params)
            _trial.try_optimizer(
                self.tx,
                params,
                self.axis_name,
                {name: self.mesh.shape[name] for name in self._names},
                self.per_worker_params,
            )
            arguments = params, model_state
            return _init.make_on_mesh(make, arguments, specs, self.mesh, self.axis_name)

    def place_arguments(
        self, state: _local_step.TrainState, batch: Any, weight: Any, steps: Any
    ) -> tuple[Any, ...]:
        """Return the arguments of a step, on the mesh."""
        mesh, axis_name = self.mesh, self.axis_name
        if weight is not None:
            weight = _numbers_on_mesh("weight", weight, mesh, axis_name, np.float32)
        if steps is not None:
            steps = _numbers_on_mesh("steps", steps, mesh, axis_name, np.int32)
        batch = _on_mesh(batch, mesh, axis_name, self._axes_before)
        return state, batch, weight, steps, self._shards_of(state.params)

    def _shards_of(self, params):
        """Return how XLA shards the leaves of each worker; None where it does not."""
        shards = self._known_shards(params, 1 if self.per_worker_params else 0)
        if self.seen and self.seen[0] is not None and shards is None:
            raise ValueError(
                "`state.params` must be sharded as those were that `init` got, over "
                f"{self.seen[0].axes}, got none that are. Restore and place a state "
                "with the shardings of that of `init`."
            )
        return shards

    def _known_shards(self, params, num_leading):
        """Return how leaves are sharded, of traced ones as of those before."""
        if len(self.mesh.axis_names) == len(self._names):
            return None
        if _is_traced(params):
            return self.seen[0] if self.seen else None
        return _shards.shards_of(params, self.axis_name, num_leading)

    @functools.partial(jax.jit, static_argnums=(0, 5), donate_argnums=1)
    def run(self, state, batch, weight, steps, shards):
        """Return the state after a step, and the metrics."""
        with _shards.declare(shards):
            state, metrics = self._run_declared(state, batch, weight, steps)
            params = _shards.place_like_leaves(state.params)
            return state._replace(params=params), metrics

    def _run_declared(self, state, batch, weight, steps):
        if self.streaming is not None:
            workers = _worker_maps.OnMesh(
                self.mesh, self.axis_name, self.streaming.rounds.outer
            )
            return self.streaming.run(self.loss, workers, state, batch, weight, steps)
        specs = self._specs(state.params, state.opt_state)
        own = PartitionSpec(self.axis_name)
        parts = PartitionSpec(*[None] * self._axes_before, self.axis_name)
        on_workers = functools.partial(
            jax.shard_map, mesh=self.mesh, axis_names=set(self._names)
        )
        # The optimizer needs types; they would ask the user's loss for `pcast`.
        find = on_workers(
            self._find_gradient,
            in_specs=(specs, parts, own),
            out_specs=own,
            check_vma=False,
        )
        apply = on_workers(
            self._apply_gradient,
            in_specs=(specs, own, own),
            out_specs=(specs, PartitionSpec()),
        )
        return apply(state, find(state, batch, steps), weight)

    @property
    def _axes_before(self):
        """How many axes a batch has before that of the workers."""
        return 0 if self.rounds is None else 1

    def _find_gradient(self, state, batch, steps):
        steps = None if steps is None else steps[0]
        outcome = _local_step.find_gradient(
            self.loss, self._own(state), batch, self.axis_name, self.rounds, steps
        )
        return jax.tree.map(lambda leaf: leaf[None], outcome)

    def _apply_gradient(self, state, outcome, weight):
        outcome, weight = jax.tree.map(lambda leaf: leaf[0], (outcome, weight))
        axis_name, is_own = self.axis_name, self.per_worker_params
        state, metrics = _local_step.apply_gradient(
            self.tx, axis_name, is_own, self._own(state), outcome, weight
        )
        _trial.check_same_everywhere(state.params, state.opt_state, axis_name, is_own)
        params, model_state = self._stack((state.params, state.model_state))
        return state._replace(params=params, model_state=model_state), metrics

    @property
    def _names(self):
        return _collectives.names_of(self.axis_name)

    def _specs(self, params, opt_state=None):
        """Return where the state lives; the optimizer's may be there already."""
        # With parameters of its own, each worker keeps all state to itself.
        has_levels = len(self._names) > 1 and not self.per_worker_params
        if opt_state is None or has_levels:
            mesh = self.mesh if has_levels else None
            opt_specs = _state_specs.state_specs(self.tx, params, self.axis_name, mesh)
        else:
            opt_specs = _state_specs.specs_of(opt_state, self.axis_name)
        common, own = PartitionSpec(), PartitionSpec(self.axis_name)
        model = own if self.per_worker_params else common
        return _local_step.TrainState(model, opt_specs, model, common)

    def _own(self, state):
        """Return the state with this worker's parameters and model state."""
        if not self.per_worker_params:
            return state
        params, model_state = jax.tree.map(
            lambda leaf: leaf[0], (state.params, state.model_state)
        )
        return state._replace(params=params, model_state=model_state)

    def _stack(self, tree):
        """Give what each worker has of its own a leading axis of size 1."""
        if not self.per_worker_params:
            return tree
        varying = _collectives.to_varying(tree, self.axis_name)
        return jax.tree.map(lambda leaf: leaf[None], varying)


def _is_traced(tree: Any) -> bool:
    """Whether any leaf is traced, which does not say where it is."""
    return any(isinstance(leaf, core.Tracer) for leaf in jax.tree.leaves(tree))


def _on_mesh(
    batch: Any, mesh: Mesh, axis_name: _collectives.AxisName, before: int = 0
) -> Any:
    """Shard a batch over the workers; NumPy arrays are this process' part of it."""
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * before, axis_name))
    num_workers = math.prod(
        mesh.shape[name] for name in _collectives.names_of(axis_name)
    )

    def put(path, leaf):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf  # to be compiled for, and nothing else
        is_global = isinstance(leaf, jax.Array)
        leaf = leaf if is_global else np.asarray(leaf)
        shards = num_workers
        if not is_global:
            shards = num_workers * len(mesh.local_devices) // mesh.size
        _batches.check_parts(path, leaf.shape, shards, before)
        if is_global:
            return jax.device_put(leaf, sharding)
        return jax.make_array_from_process_local_data(sharding, leaf)

    return jax.tree.map_with_path(put, batch)


def _numbers_on_mesh(
    name: str, value: Any, mesh: Mesh, axis_name: _collectives.AxisName, dtype: Any
) -> jax.Array:
    """Shard one number for each worker; NumPy arrays are those of this process."""
    value = value if isinstance(value, jax.Array) else np.asarray(value, dtype)
    names = _collectives.names_of(axis_name)
    wanted = math.prod(mesh.shape[axis] for axis in names)
    if not isinstance(value, jax.Array):
        wanted = wanted * len(mesh.local_devices) // mesh.size
    if value.shape != (wanted,):
        raise ValueError(
            f"`{name}` must have one number for each worker, the shape ({wanted},), "
            f"got {value.shape}."
        )
    return _on_mesh(value, mesh, axis_name)
