"""Pull to center: EASGD, workers and a centre pull each other."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.leader import _common
from jaxdist.workers import _arrival, _own_params, _periodic, _weight


class PullToCenterState(NamedTuple):
    """State of :func:`pull_to_center`."""

    count: jax.Array  # int32, shape (); equal on all workers
    center: Any  # like the parameters, float32 or wider; equal on all workers


def pull_to_center(
    axis_name: _collectives.AxisName,
    strength: float,
    period: int = 1,
    center: Literal["old", "new"] = "old",
) -> optax.GradientTransformationExtraArgs:
    r"""Pull every worker's parameters towards a centre, and the centre towards them.

    .. math:: x_i \leftarrow x_i + u_i - \alpha (x_i - c), \qquad
       c \leftarrow c + \alpha \sum_i (x_i - c)

    Every worker holds parameters of its own and takes its own step :math:`u_i`. Every
    ``period`` steps it moves towards the centre as well, from where it stood before its
    step. Put it last in the chain, after the learning rate. The centre is what one
    evaluates: ``state.center``.

    In simulated time the workers that arrive take part where their own count of
    mini-batches is a multiple of ``period``. This is the asynchronous EASGD, and after
    momentum of each worker the EAMSGD:
    ``chain(per_worker(axis, optax.sgd(lr, 0.9, nesterov=True)), pull_to_center(...))``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      strength: :math:`\alpha` in [0, 1], share of the distance, no unit; it is not
        multiplied by the learning rate. Where all W workers move the centre together,
        it overshoots them for :math:`W \alpha > 1`; the paper takes 0.9 / W.
      period: Optimizer steps from one pull to the next.
      center: Whether workers are pulled towards the ``"old"`` centre, as in the paper,
        or towards the ``"new"`` one, which has moved already.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers. The centre starts where the workers start, or at their mean. A
      worker whose parameters are not finite, or that is absent (``weight=0``), neither
      moves the centre nor is pulled.

    Raises:
      ValueError: If ``strength`` or ``period`` is out of range, or ``center`` is
        unknown; in ``update``, if ``params`` is missing or the same on all workers.
      TypeError: In ``init``, if a parameter is not floating-point.

    Communication:
      Every ``period`` steps an all-reduce of the pulls: 2(W-1)/W · 4d bytes of float32;
      in simulated time in every update.

    Example:
      >>> tx = jaxdist.pull_to_center("worker", strength=0.25)
      >>> def step(params, start):
      ...     state = tx.init(start)
      ...     updates, state = tx.update(jnp.zeros_like(params), state, params)
      ...     return params + updates, state.center
      >>> workers = jax.vmap(step, (0, None), axis_name="worker")
      >>> params, center = workers(jnp.array([0.0, 4.0]), jnp.zeros(()))
      >>> print(params, center)
      [0. 3.] [1. 1.]

    References:
      Zhang, Choromanska and LeCun, `Deep learning with Elastic Averaging SGD
      <https://arxiv.org/abs/1412.6651>`_, 2015, Equations 5 and 6 and Algorithms 1
      and 2.
    """
    _checks.axis_name(axis_name)
    strength = _checks.real("strength", strength, 0.0, 1.0)
    period = _checks.integer("period", period, 1)
    _checks.one_of("center", center, ("old", "new"))
    name = f"pull_to_center({axis_name!r})"

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        with _traffic.sender(init, name):  # of which reports forget what update resends
            start = _common.common_start(params, axis_name)
        return PullToCenterState(jnp.zeros((), jnp.int32), start)

    def update(updates, state, params=None, *, weight=None, arrival=None, **extra_args):
        del extra_args
        _checks.own_state(state, PullToCenterState, "pull_to_center")
        _tree.check_arrays("updates", updates)
        _arrival.identity_of(arrival, axis_name)  # that it is an arrival
        _own_params.check_own_params("pull_to_center", params, axis_name, arrival)
        _common.check_common("pull_to_center", state.center, params, axis_name)
        pull = _Pull(
            axis_name, params, strength, _takes_part(params, weight, arrival), center
        )
        updates = _collectives.to_varying(updates, axis_name)
        count = _tree.next_count(state.count)
        # Workers of simulated time count for themselves, so that no branch serves all.
        lock_step = period if arrival is None else 1
        with _traffic.sender(init, name):
            updates, moved = _periodic.run_every(
                lock_step, count, pull, (updates, state.center)
            )
        return updates, PullToCenterState(count, moved)

    def _takes_part(params, weight, arrival):
        here = _tree.is_finite(params)
        if weight is not None:
            here &= _weight.own_weight(weight, axis_name) > 0
        if arrival is not None:
            here &= arrival.count % period == 0
        return here

    return optax.GradientTransformationExtraArgs(init, update)


# No tuple: a branch needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False)
class _Pull:
    """One pull of all who take part."""

    axis_name: _collectives.AxisName
    params: Any
    strength: Any
    takes_part: jax.Array  # bool, shape ()
    center: str

    def __call__(self, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return the updates with the pulls in them, and where the centre moved."""
        updates, old = carry
        pulls = self.pulls_towards(old)
        with _traffic.contents(_common.leaf_contents(self.params, self.axis_name)):
            total = _collectives.psum(pulls, self.axis_name)
        new = jax.tree.map(jnp.add, old, total)
        if self.center == "new":
            pulls = self.pulls_towards(new)

        def add(update, pull):
            return (update.astype(pull.dtype) - pull).astype(update.dtype)

        return jax.tree.map(add, updates, pulls), new

    def pulls_towards(self, center: Any) -> Any:
        """Return this worker's share of its way from a centre; 0 where it is absent."""

        def pull(own, leaf):
            way = jnp.where(self.takes_part, own.astype(leaf.dtype) - leaf, 0)
            return jnp.asarray(self.strength, leaf.dtype) * way

        return jax.tree.map(pull, self.params, center)
