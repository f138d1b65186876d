"""Pull to leader: LSGD, every worker follows the one with the smallest loss."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.leader import _common, _losses
from jaxdist.workers import (
    _arrival,
    _own_params,
    _periodic,
    _weight,
    _worker_state,
)


class PullToLeaderState(NamedTuple):
    """State of :func:`pull_to_leader`."""

    count: jax.Array  # int32, shape (); equal on all workers


class LeaderMemoryState(NamedTuple):
    """State of :func:`pull_to_leader` where something is remembered; else ``()``."""

    count: jax.Array  # int32, shape (); equal on all workers
    losses: _worker_state.PerWorkerState  # the last losses, newest last; varies
    reports: Any  # float32 [W], the last mean loss of each; equal on all workers
    stored: Any  # like the parameters, the last leader; equal on all workers


def pull_to_leader(
    axis_name: _collectives.AxisName,
    strength: float,
    period: int = 1,
    *,
    loss_average: int = 1,
    stored_strength: float = 0.0,
    num_workers: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Pull every worker's parameters towards those of the worker with least loss.

    .. math:: x_i \leftarrow y_i - \lambda (y_i - y_l), \quad y_i = x_i + u_i, \quad
       l = \arg\min_i \ell_i

    Every worker holds parameters of its own, takes its own step :math:`u_i`, and every
    ``period`` steps moves towards where the leader has come to. Put it last in the
    chain, after the learning rate, and give each worker's loss as ``value=``.

    With ``stored_strength`` every worker also moves in every step towards the leader of
    the last pull, :math:`\tilde x`: :math:`y_i = (1 - p/T)(x_i + u_i) + (p/T)\tilde x`
    with :math:`p` the strength and :math:`T` the period. In a step with a pull this
    comes first, with the leader of before.

    Two of these in a chain, over an inner axis and then over a tuple of axes, pull
    towards a leader of each node and then towards the leader of all. Only a loop of
    your own can remember a leader of each node: one that calls ``tx.init`` where
    parameters differ between nodes.

    In simulated time, where only some workers meet, ``num_workers`` must be given. Then
    the leader is the one of all W whose last reported loss is the least. Its parameters
    are those after its step where it arrives itself, and else those it has now. A
    worker is pulled when its own count of mini-batches is a multiple of ``period``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      strength: :math:`\lambda` in [0, 1], share of the distance, no unit; 1 copies the
        leader. It is not multiplied by the learning rate.
      period: Optimizer steps from one pull to the next.
      loss_average: Over how many of its last losses a worker takes the mean, by which
        leaders are found. The authors' code takes those of one period.
      stored_strength: :math:`p` in [0, 1], no unit; static. The authors' code takes
        ``strength``. Above 0 the last leader is remembered; it starts where the workers
        start, or at their mean.
      num_workers: W, in simulated time, where the last losses of all are remembered.
        None where all workers take every step together.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers. Ties lead by the lowest index. A worker whose loss or whose
      stepped parameters are not finite, or that is absent (``weight=0``), never leads;
      when there is no other, no worker is pulled.

    Raises:
      ValueError: If an argument is out of range; in ``update``, if ``params`` or
        ``value=`` is missing, if the loss is no scalar, if the parameters are the same
        on all workers, or if ``num_workers`` is missing or another number than W.
      TypeError: In ``init``, if a parameter is not floating-point and the last leader
        is remembered.

    Communication:
      Every ``period`` steps an all-gather of W losses and an all-reduce of the
      parameters, in which only the leader has a share: 2(W-1)/W · 4d bytes of float32.
      In simulated time in every update, with 8 bytes for each loss, and with
      ``stored_strength`` an all-reduce of 4 bytes.

    Example:
      >>> tx = jaxdist.pull_to_leader("worker", strength=0.5)
      >>> def step(params, loss):
      ...     updates = jnp.zeros_like(params)
      ...     return tx.update(updates, tx.init(params), params, value=loss)[0]
      >>> params, losses = jnp.array([[0.0], [4.0]]), jnp.array([1.0, 2.0])
      >>> print(jax.vmap(step, axis_name="worker")(params, losses).ravel())
      [ 0. -2.]

    References:
      Teng et al., `Leader Stochastic Gradient Descent for Distributed Training of Deep
      Learning Models <https://arxiv.org/abs/1905.10395>`_, 2019, the synchronous form
      with a single leader; ``num_workers`` is for the asynchronous form. To follow the
      authors' code take ``loss_average=period`` and ``stored_strength=strength``; where
      two are chained, that code moves towards both remembered leaders before any pull.
    """
    _checks.axis_name(axis_name)
    strength = _checks.real("strength", strength, 0.0, 1.0)
    period = _checks.integer("period", period, 1)
    loss_average = _checks.integer("loss_average", loss_average, 1)
    stored_strength = _checks.real(
        "stored_strength", stored_strength, 0.0, 1.0, static=True
    )
    if num_workers is not None:
        num_workers = _checks.integer("num_workers", num_workers, 1)
    is_remembered = loss_average > 1 or stored_strength > 0 or num_workers is not None
    kind = LeaderMemoryState if is_remembered else PullToLeaderState
    name = f"pull_to_leader({axis_name!r})"

    def init(params):
        count = jnp.zeros((), jnp.int32)
        if not is_remembered:
            return PullToLeaderState(count)
        losses = _losses.no_losses(loss_average) if loss_average > 1 else ()
        reports = () if num_workers is None else _losses.no_reports(num_workers)
        stored = ()
        if stored_strength:
            _tree.check_floats("params", params)
            with _traffic.sender(init, name):  # update begins anew, and counts
                stored = _stored_like(_common.common_start(params, axis_name), params)
        own = _worker_state.attach_axis(losses, axis_name)
        return LeaderMemoryState(count, own, reports, stored)

    def update(
        updates, state, params=None, *, value=None, weight=None, arrival=None, **extra
    ):
        del extra
        _checks.own_state(state, kind, "pull_to_leader")
        _tree.check_arrays("updates", updates)
        _check_arrival(arrival, num_workers, axis_name)
        _own_params.check_own_params("pull_to_leader", params, axis_name, arrival)
        _losses.check_loss(value)
        here = True
        if weight is not None:
            here = _weight.own_weight(weight, axis_name) > 0
        count = _tree.next_count(state.count)
        memory = state if is_remembered else _nothing_more(state)
        loss, losses = _loss_of(value, memory.losses, here, axis_name)
        updates = _collectives.to_varying(updates, axis_name)
        if stored_strength:
            _common.check_common("pull_to_leader", memory.stored, params, axis_name)
            share = stored_strength / period
            updates = _add_way(updates, params, memory.stored, share)
        pull = _Pull(axis_name, params, strength, period, loss, here, arrival)
        lock_step = 1 if pull.is_in_simulated_time else period
        carry = updates, memory.reports, memory.stored
        with _traffic.sender(init, name):
            carry = _periodic.run_every(lock_step, count, pull, carry)
        updates, reports, stored = carry
        if not is_remembered:
            return updates, PullToLeaderState(count)
        return updates, LeaderMemoryState(count, losses, reports, stored)

    return optax.GradientTransformationExtraArgs(init, update)


# No tuple: a branch needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False)
class _Pull:
    """One pull towards the leader."""

    axis_name: _collectives.AxisName
    params: Any
    strength: Any
    period: int
    loss: jax.Array
    is_here: Any
    arrival: Any

    @property
    def is_in_simulated_time(self) -> bool:
        """Whether some workers are not here, and each counts for itself."""
        return not _arrival.meets_everybody(self.arrival)

    def __call__(self, carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        """Return the updates with the pull in them, all losses, and the leader."""
        updates, reports, stored = carry
        stepped = optax.apply_updates(self.params, updates)
        can_lead = jnp.isfinite(self.loss) & _tree.is_finite(stepped)
        loss = jnp.where(can_lead & self.is_here, self.loss, jnp.inf)
        if self.is_in_simulated_time:
            leader, target = self.find_among_all(loss, reports, stepped)
            is_due = self.arrival.count % self.period == 0
        else:
            leader, target = self.find_among_these(loss, stepped)
            is_due = jnp.asarray(True)
        share = jnp.where(leader.exists & is_due, self.strength, 0.0)
        updates = _add_way(updates, self.params, target, share)
        if not isinstance(reports, tuple):
            reports = leader.losses
        return updates, reports, self.remember(stored, target, leader.exists, is_due)

    def find_among_these(self, loss, stepped):
        """Return the leader of the workers, who all meet, and where it has come to."""
        leader = _losses.leader_of_all(loss, self.axis_name)
        return leader, self.from_place(stepped, leader.index)

    def find_among_all(self, loss, reports, stepped):
        """Return the leader of all workers, who may not be here, and where it is."""
        leader, place = _losses.leader_of_reports(
            loss, self.is_here, reports, self.arrival, self.axis_name
        )
        arrived = self.from_place(stepped, place)

        def choose(here, elsewhere):
            there = jax.lax.dynamic_index_in_dim(
                elsewhere, leader.index, keepdims=False
            )
            return jnp.where(place >= 0, here, there)

        return leader, jax.tree.map(choose, arrived, self.arrival.all_params)

    def from_place(self, stepped, place):
        """Return the parameters of one of those who meet, on all of them."""
        with _traffic.contents(_common.leaf_contents(stepped, self.axis_name)):
            return _collectives.from_worker(stepped, place, self.axis_name)

    def remember(self, stored, target, exists, is_due):
        """Return the leader that is remembered until the next pull of anybody."""
        if not jax.tree.leaves(stored):
            return stored
        if self.is_in_simulated_time:
            with _traffic.contents([_traffic.Content("(due)", 4)]):
                number = is_due.astype(jnp.int32)
                is_due = _collectives.psum(number, self.axis_name) > 0
        return jax.tree.map(
            lambda new, old: jnp.where(exists & is_due, new, old), target, stored
        )


def _nothing_more(state):
    """Return the state of one who remembers nothing, as one who does."""
    return LeaderMemoryState(state.count, _worker_state.PerWorkerState(()), (), ())


def _stored_like(start, params):
    """Return a leader in the dtypes of the parameters."""
    return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), start, params)


def _loss_of(value, losses, is_here, axis_name):
    """Return the loss by which a worker may lead, and what it remembers of losses."""
    loss = jnp.asarray(value, jnp.float32)
    if not jax.tree.leaves(losses):
        return loss, losses
    last = _losses.note_loss(_worker_state.detach_axis(losses), loss, is_here)
    return _losses.mean_of_losses(last), _worker_state.attach_axis(last, axis_name)


def _add_way(updates: Any, params: Any, target: Any, share: Any) -> Any:
    """Add to the updates a share of the way from where they lead; 0 adds nothing."""
    stepped = optax.apply_updates(params, updates)

    def add(update, here, there):
        part = jnp.asarray(share, update.dtype) * (there - here).astype(update.dtype)
        # Who stands at infinity is no number of steps away, not even 0.
        return update + jnp.where(share > 0, part, jnp.zeros_like(part))

    return jax.tree.map(add, updates, stepped, target)


def _check_arrival(
    arrival: _arrival.Arrival | None,
    num_workers: int | None,
    axis_name: _collectives.AxisName,
) -> None:
    """Raise where it is not known how many workers there are."""
    everybody = _arrival.identity_of(arrival, axis_name).num_workers
    if num_workers not in (None, everybody):
        raise ValueError(
            f"`num_workers` of pull_to_leader must be the number of workers there are, "
            f"{everybody}, got {num_workers}."
        )
    if _arrival.meets_everybody(arrival):
        return
    if num_workers is None:
        raise ValueError(
            "`num_workers` of pull_to_leader must be given where not all workers meet "
            "in one update, since the leader is found by the last losses of all: "
            f"num_workers={everybody}, got None."
        )
