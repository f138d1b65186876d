"""Track gradient: each worker follows the mean of all gradients, by gossip alone.

The paper keeps the tracked gradient and the last one, and adds up how gradients change.
The difference of the two is a sum of moves, and as a sum it is kept here: it takes half
the memory, and what is rounded of a gradient is not added up.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.gossip import _correction, _mixing, _network, _topology
from jaxdist.workers import _worker_state


class TrackGradientState(NamedTuple):
    """State of :func:`track_gradient`."""

    count: jax.Array  # int32, shape (); equal on all workers
    correction: _worker_state.PerWorkerState  # like params, float32 or wider; varies


def track_gradient(
    axis_name: _collectives.AxisName, topology: _topology.Topology
) -> optax.GradientTransformationExtraArgs:
    r"""Replace each worker's gradient by one that follows the mean of all.

    .. math:: q_i \leftarrow g_i + c_i, \qquad
       c_i \leftarrow c_i + \sum_j w_{ij} (q_j - q_i)

    This is :math:`q \leftarrow W q + g - g'` of the step before, with
    :math:`q = g` in the first. Put it first in the chain, before the learning rate, and
    :func:`mix_with_neighbors` last: with full gradients the workers end at the optimum
    of all data, however unequal their own are, also where the topology changes from
    step to step.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      topology: Who hears whom; it must keep the mean. It need not be that of the
        parameters.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers. The mean over the workers is that of their gradients. Who is
      absent (``weight=0``) or not finite is not mixed, and keeps its correction.

    Raises:
      ValueError: If the weights of ``topology`` do not keep the mean; in ``update``, if
        it is not for so many workers.
      TypeError: If ``topology`` is none; in ``init``, if a parameter is not
        floating-point.

    Communication:
      The gradient to each neighbour, as :func:`mix_with_neighbors` sends parameters:
      together twice the bytes.

    Example:
      >>> ring = jaxdist.gossip.ring()
      >>> tx = optax.chain(
      ...     jaxdist.track_gradient("worker", ring),
      ...     optax.sgd(0.1),
      ...     jaxdist.mix_with_neighbors("worker", ring),
      ... )
      >>> def worker(center):
      ...     def step(carry, _):
      ...         params, state = carry
      ...         updates, state = tx.update(params - center, state, params)
      ...         return (params + updates, state), None
      ...
      ...     start = (0 * center, tx.init(0 * center))
      ...     return jax.lax.scan(step, start, length=300)[0][0]
      >>> centers = jnp.array([0.0, 1.0, 2.0, 3.0])
      >>> print(jax.vmap(worker, axis_name="worker")(centers).round(4))
      [1.5 1.5 1.5 1.5]

    References:
      Di Lorenzo and Scutari, `NEXT: In-Network Nonconvex Optimization
      <https://arxiv.org/abs/1602.00591>`_, 2016; Nedić, Olshevsky and Shi, `Achieving
      Geometric Convergence for Distributed Optimization over Time-Varying Graphs
      <https://arxiv.org/abs/1607.03218>`_, 2017, Algorithm 1.
    """
    _checks.axis_name(axis_name)
    _topology.check_topology(topology)
    _topology.check_mean("track_gradient", topology)
    name = f"track_gradient({axis_name!r})"

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        correction = _correction.init_correction(params, axis_name)
        return TrackGradientState(jnp.zeros((), jnp.int32), correction)

    def update(updates, state, params=None, *, weight=None, arrival=None, **extra_args):
        del params, extra_args
        _checks.own_state(state, TrackGradientState, "track_gradient")
        _tree.check_arrays("updates", updates)
        state = _tree.arrange_made(state, init, updates)
        network = _network.network_of_step(topology, axis_name, state.count, arrival)
        updates = _collectives.to_varying(updates, axis_name)
        correction = _correction.load_correction(updates, state.correction)
        updates = _mixing.add_to_updates(updates, correction, 1.0)
        values = _mixing.values_of(updates, weight, axis_name)
        with _traffic.sender(init, name):
            heard = _mixing.hear_values(network, values)
        moves = _mixing.mixed_differences(network, values, heard)
        correction = _correction.add_moves(correction, moves, 1.0)
        kept = _worker_state.attach_axis(
            values.treedef.unflatten(correction), axis_name
        )
        return updates, TrackGradientState(_tree.next_count(state.count), kept)

    return optax.GradientTransformationExtraArgs(init, update)
