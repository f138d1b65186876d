"""Push sum: gossip over directed graphs, in which nobody knows who hears it.

The numerators of the paper are never formed. Each worker holds the quotient, and a step
on the numerator is one on the quotient, divided by the weight. What neighbours say
counts with their weights: rows that sum to one again, so that mixing is a sum of
differences here too.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.gossip import _mixing, _network, _topology
from jaxdist.workers import _own_params, _worker_state


class PushSumState(NamedTuple):
    """State of :func:`push_sum`."""

    count: jax.Array  # int32, shape (); equal on all workers
    weight: _worker_state.PerWorkerState  # float32, shape (), 1 at first; varies


def push_sum(
    axis_name: _collectives.AxisName, topology: _topology.Topology
) -> optax.GradientTransformationExtraArgs:
    r"""Mix parameters over a directed graph whose columns sum to one.

    .. math:: n_i \leftarrow \sum_j p_{ij} (n_j + u_j), \qquad
       w_i \leftarrow \sum_j p_{ij} w_j, \qquad x_i = n_i / w_i

    Each worker splits what it holds among those that hear it, which keeps the sum. Some
    workers then get more than others, and the weights :math:`w` say how much. This is
    stochastic gradient push (SGP). Where rows sum to one as well, the weights stay 1
    and it is :func:`mix_with_neighbors` with ``order="adapt_then_combine"``. Put it
    last in the chain, after the learning rate.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      topology: Who hears whom; its columns sum to one.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers. Who is absent (``weight=0``) sends nothing and keeps its weight;
      what is sent to it arrives. A neighbour that is not finite does not count, but
      goes on taking the weights of those that it hears.

    Raises:
      ValueError: If the columns of ``topology`` do not sum to one; in ``update``, if it
        is not for so many workers, or if ``params`` is missing or the same on all
        workers.
      TypeError: If ``topology`` is none; in ``init``, if a parameter is not
        floating-point.

    Communication:
      The parameters and 4 bytes to each worker that hears it, as
      :func:`mix_with_neighbors`.

    Example:
      >>> leaning = [[0.5, 0.0, 0.5], [0.25, 0.5, 0.0], [0.25, 0.5, 0.5]]
      >>> tx = jaxdist.push_sum("worker", jaxdist.gossip.graph(leaning))
      >>> def worker(start):
      ...     def step(carry, _):
      ...         params, state = carry
      ...         updates, state = tx.update(0 * params, state, params)
      ...         return (params + updates, state), None
      ...
      ...     return jax.lax.scan(step, (start, tx.init(start)), length=30)[0][0]
      >>> starts = jnp.array([0.0, 3.0, 9.0])
      >>> print(jax.vmap(worker, axis_name="worker")(starts).round(4))
      [4. 4. 4.]

    References:
      Assran et al., `Stochastic Gradient Push for Distributed Deep Learning
      <https://arxiv.org/abs/1811.10792>`_, 2019, Algorithm 1; Kempe, Dobra and Gehrke,
      `Gossip-Based Computation of Aggregate Information
      <https://doi.org/10.1109/SFCS.2003.1238221>`_, 2003.
    """
    _checks.axis_name(axis_name)
    _topology.check_topology(topology)
    if not topology.columns:
        raise ValueError(
            "`topology` of push_sum must have columns that sum to one: each worker "
            f"splits what it holds among those that hear it. Got {topology.name}, of "
            "which only the rows do."
        )
    name = f"push_sum({axis_name!r})"

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        weight = _worker_state.attach_axis(jnp.ones((), jnp.float32), axis_name)
        return PushSumState(jnp.zeros((), jnp.int32), weight)

    def update(updates, state, params=None, *, weight=None, arrival=None, **extra_args):
        del extra_args
        _checks.own_state(state, PushSumState, "push_sum")
        _tree.check_arrays("updates", updates)
        state = _tree.arrange_made(state, init, updates)
        network = _network.network_of_step(topology, axis_name, state.count, arrival)
        _own_params.check_own_params("push_sum", params, axis_name, arrival)
        own = _worker_state.detach_axis(state.weight)
        updates = _scaled(_collectives.to_varying(updates, axis_name), 1 / own)
        values = _mixing.values_of(_stepped(params, updates), None, axis_name)
        is_here = _mixing.presence_of(weight, axis_name)
        with _traffic.sender(init, name):
            heard = _hear(network, values, _pushed(own, is_here))
        shares = _shares(network, heard)
        after = _kept(network, is_here) * own + jnp.sum(shares)
        moves = _mixing.mixed_differences(network, values, heard, shares / after)
        updates = _mixing.add_to_updates(updates, moves, 1.0)
        kept = _worker_state.attach_axis(after, axis_name)
        return updates, PushSumState(_tree.next_count(state.count), kept)

    return optax.GradientTransformationExtraArgs(init, update)


def _stepped(params: Any, updates: Any) -> Any:
    return optax.apply_updates(params, updates)


def _scaled(tree, factor):
    """Return the leaves times a number, in their own dtypes."""

    def scale(leaf):
        wide = _tree.widened(leaf)
        return (wide * factor.astype(wide.dtype)).astype(leaf.dtype)

    return jax.tree.map(scale, tree)


def _pushed(own, is_here):
    """Return the weight that is split among those that hear this worker."""
    return own if is_here is None else jnp.where(is_here, own, 0)


def _kept(network, is_here):
    """Return the share of its own weight that this worker keeps."""
    share = network.own_share.astype(jnp.float32)
    return share if is_here is None else jnp.where(is_here, share, 1)


def _hear(network, values, pushed):
    """Return the leaves of those that this worker hears, and last their weights."""
    named = list(zip(values.names, values.leaves, strict=True))
    contents = _network.dense_contents(named, network.num_workers)
    weight = _traffic.Content("(weight)", 4)
    arrays = [leaf[None] for leaf in [*values.leaves, pushed]]
    return network.hear(arrays, [*contents, weight])


def _shares(network, heard):
    """Return the weight that comes from each place, float32 ``[places]``."""
    table = network.in_places(heard, network.weights(jnp.float32))
    if heard.rows is not None:
        return table * heard.rows[-1]
    if not heard.moves:
        return table
    return table * jnp.stack([arrays[-1] for arrays in heard.moves])
