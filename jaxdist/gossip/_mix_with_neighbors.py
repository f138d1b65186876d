"""Mix with neighbors: each worker averages its parameters with those it hears."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.gossip import _mixing, _network, _topology
from jaxdist.workers import _own_params


class MixWithNeighborsState(NamedTuple):
    """State of :func:`mix_with_neighbors`."""

    count: jax.Array  # int32, shape (); equal on all workers


def mix_with_neighbors(
    axis_name: _collectives.AxisName,
    topology: _topology.Topology,
    step_size: float = 1.0,
    order: Literal["combine_then_adapt", "adapt_then_combine"] = "combine_then_adapt",
) -> optax.GradientTransformationExtraArgs:
    r"""Move every worker's parameters towards those of its neighbours.

    .. math:: x_i \leftarrow x_i + u_i + \gamma \sum_j w_{ij} (x_j - x_i)

    Every worker holds parameters of its own and takes its own step :math:`u_i`; no
    worker hears all others. This is decentralized SGD (D-PSGD). Put it last in the
    chain, after the learning rate.

    With ``order="adapt_then_combine"`` neighbours meet after their steps,
    :math:`y_i = x_i + u_i`, as in diffusion: the workers end closer to each other. In
    the default order what travels is known before the gradient, so that a compiler can
    hide the network behind it.

    A neighbour that is absent (``weight=0``), or whose parameters are not finite, does
    not count: its weight goes back to the worker itself, and a NaN of one worker stays
    with it. Parts of the parameters that a model axis shards are judged each by itself.
    Who is absent takes its own steps, and is not moved.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      topology: Who hears whom, such as ``jaxdist.gossip.ring()``.
      step_size: :math:`\gamma` in (0, 1], share of the way, no unit; it is not
        multiplied by the learning rate.
      order: Whether workers meet where they stood before their steps or after them.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers.

    Raises:
      ValueError: If ``step_size`` is out of range, ``order`` is unknown, or the weights
        of ``topology`` do not keep the mean; in ``update``, if ``topology`` is not for
        so many workers, or if ``params`` is missing or the same on all workers.
      TypeError: If ``topology`` is none; in ``init``, if a parameter is not
        floating-point.

    Communication:
      The parameters, :math:`b` bytes, to each neighbour: :math:`d b` for :math:`d`
      neighbours, as packed bytes in :math:`d` permutations, or in one all-gather where
      all hear all. With a ``weight`` a byte more for each neighbour.

    Example:
      >>> tx = jaxdist.mix_with_neighbors("worker", jaxdist.gossip.ring())
      >>> def step(params):
      ...     updates, _ = tx.update(jnp.zeros_like(params), tx.init(params), params)
      ...     return params + updates
      >>> print(jax.vmap(step, axis_name="worker")(jnp.array([0.0, 3.0, 6.0, 9.0])))
      [4. 3. 6. 5.]

    References:
      Lian et al., `Can Decentralized Algorithms Outperform Centralized Algorithms?
      <https://arxiv.org/abs/1705.09056>`_, 2017, Algorithm 1; Sayed, `Adaptive
      Networks <https://doi.org/10.1109/JPROC.2014.2306253>`_, 2014, Equations 34
      and 35, for both orders.
    """
    _checks.axis_name(axis_name)
    _topology.check_topology(topology)
    _topology.check_mean("mix_with_neighbors", topology)
    step_size = _checks.real("step_size", step_size, 0.0, 1.0, above=True)
    _checks.one_of("order", order, ("combine_then_adapt", "adapt_then_combine"))
    name = f"mix_with_neighbors({axis_name!r})"

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        return MixWithNeighborsState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, weight=None, arrival=None, **extra_args):
        del extra_args
        _checks.own_state(state, MixWithNeighborsState, "mix_with_neighbors")
        _tree.check_arrays("updates", updates)
        network = _network.network_of_step(topology, axis_name, state.count, arrival)
        _own_params.check_own_params("mix_with_neighbors", params, axis_name, arrival)
        updates = _collectives.to_varying(updates, axis_name)
        values = _mixing.values_of(meeting(params, updates), weight, axis_name)
        with _traffic.sender(init, name):
            heard = _mixing.hear_values(network, values)
        moves = _mixing.mixed_differences(network, values, heard)
        updates = _mixing.add_to_updates(updates, moves, step_size)
        return updates, MixWithNeighborsState(_tree.next_count(state.count))

    def meeting(params: Any, updates):
        """Return where this worker stands when it meets its neighbours."""
        if order == "combine_then_adapt":
            return params
        return optax.apply_updates(params, updates)

    return optax.GradientTransformationExtraArgs(init, update)
