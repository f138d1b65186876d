"""Pull to leader: LSGD, every worker follows the one with the smallest loss."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.workers import _own_params, _periodic, _weight


class PullToLeaderState(NamedTuple):
    """State of :func:`pull_to_leader`."""

    count: jax.Array  # int32, shape (); equal on all workers


def pull_to_leader(
    axis_name: _collectives.AxisName, strength: float, period: int = 1
) -> optax.GradientTransformationExtraArgs:
    r"""Pull every worker's parameters towards those of the worker with least loss.

    .. math:: x_i \leftarrow y_i - \lambda (y_i - y_l), \quad y_i = x_i + u_i, \quad
       l = \arg\min_i \ell_i

    Every worker holds parameters of its own, takes its own step :math:`u_i`, and every
    ``period`` steps moves towards where the leader has come to. Put it last in the
    chain, after the learning rate, and give each worker's loss as ``value=``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      strength: :math:`\lambda` in [0, 1], share of the distance, no unit; 1 copies the
        leader. It is not multiplied by the learning rate.
      period: Optimizer steps from one pull to the next.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers. Ties lead by the lowest index. A worker whose loss or whose
      stepped parameters are not finite, or that is absent (``weight=0``), never leads;
      when there is no other, no worker is pulled.

    Raises:
      ValueError: If ``strength`` or ``period`` is out of range; in ``update``, if
        ``params`` or ``value=`` is missing, if the loss is no scalar, or if the
        parameters are the same on all workers.

    Communication:
      Every ``period`` steps an all-gather of W losses and an all-reduce of the
      parameters, in which only the leader has a share: 2(W-1)/W · 4d bytes of float32.

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
      with a single leader. The leader is chosen by the ``value`` of this step; give a
      running mean to follow the authors' code.
    """
    _checks.axis_name(axis_name)
    strength = _checks.real("strength", strength, 0.0, 1.0)
    period = _checks.integer("period", period, 1)

    def init(params):
        del params
        return PullToLeaderState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, value=None, weight=None, **extra_args):
        del extra_args
        _checks.own_state(state, PullToLeaderState, "pull_to_leader")
        _tree.check_arrays("updates", updates)
        _own_params.check_own_params("pull_to_leader", params, axis_name)
        _check_loss(value)
        loss = jnp.asarray(value, jnp.float32)
        if weight is not None:
            here = _weight.own_weight(weight, axis_name) > 0
            loss = jnp.where(here, loss, jnp.inf)
        pull = functools.partial(
            _pull, params=params, loss=loss, strength=strength, axis_name=axis_name
        )
        updates = _collectives.to_varying(updates, axis_name)
        count = _tree.next_count(state.count)
        with _traffic.sender(init, f"pull_to_leader({axis_name!r})"):
            updates = _periodic.run_every(period, count, pull, updates)
        return updates, PullToLeaderState(count)

    return optax.GradientTransformationExtraArgs(init, update)


def _pull(
    updates: Any,
    *,
    params: Any,
    loss: Any,
    strength: Any,
    axis_name: _collectives.AxisName,
) -> Any:
    """Add to the updates the way towards where the leader has come to."""
    stepped = optax.apply_updates(params, updates)
    leader, exists = _leader(loss, stepped, axis_name)
    with _traffic.contents(_leaf_contents(stepped, axis_name)):
        target = _collectives.from_worker(stepped, leader, axis_name)
    share = jnp.where(exists, strength, 0.0)

    def add(update, here, there):
        return update + share.astype(update.dtype) * (there - here).astype(update.dtype)

    return jax.tree.map(add, updates, stepped, target)


def _leader(
    loss: Any, stepped: Any, axis_name: _collectives.AxisName
) -> tuple[jax.Array, jax.Array]:
    """Return the leader's index, and whether any worker can lead."""
    finite = jnp.isfinite(loss)
    for leaf in jax.tree.leaves(stepped):
        finite &= jnp.all(jnp.isfinite(leaf))
    loss = jnp.where(finite, loss, jnp.inf)
    with _traffic.contents([_traffic.Content("(losses)", 4)]):
        losses = _collectives.all_gather(loss, axis_name)
    return jnp.argmin(losses), jnp.isfinite(jnp.min(losses))


def _check_loss(value: Any) -> None:
    """Raise when there is no loss by which to find the leader."""
    if value is None or jnp.ndim(value):
        came = "nothing" if value is None else f"shape {jnp.shape(value)}"
        raise ValueError(
            "pull_to_leader needs this worker's loss as a scalar `value`: call "
            f"tx.update(updates, state, params, value=loss). Got {came}."
        )


def _leaf_contents(
    leaves: Any, axis_name: _collectives.AxisName
) -> list[_traffic.Content]:
    """Return what an all-reduce of the leaves holds."""
    num_workers = _collectives.axis_size(axis_name)
    return [
        _traffic.Content(
            name,
            _collectives.psum_nbytes(leaf),
            leaf.shape,
            "identity()",
            dense=_traffic.all_reduce_bytes(_tree.leaf_nbytes(leaf), num_workers),
        )
        for name, leaf in _tree.named_leaves(leaves)
    ]
