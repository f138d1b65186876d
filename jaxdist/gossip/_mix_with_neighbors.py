"""Mix with neighbors: D-PSGD, diffusion, CHOCO and BRIDGE, by what is given."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _traffic, _tree
from jaxdist.compression import _compressor
from jaxdist.gossip import (
    _corruption,
    _estimates,
    _mixing,
    _network,
    _screening,
    _topology,
)
from jaxdist.rules import _rule
from jaxdist.workers import _number, _own_params, _worker_state

Corrupt = _corruption.Corrupt


class MixWithNeighborsState(NamedTuple):
    """State of :func:`mix_with_neighbors`."""

    count: jax.Array  # int32, shape (); equal on all workers
    key: _random.Stream | tuple[()]  # equal on all workers; () where nothing is drawn
    estimates: Any  # an NeighborEstimateState with a compressor, else (); varies
    rule_memory: _worker_state.PerWorkerState  # of the rule; varies


def mix_with_neighbors(
    axis_name: _collectives.AxisName,
    topology: _topology.Topology,
    compressor: _compressor.Compressor | _compressor.LeafPolicy | None = None,
    rule: _rule.AggregationRule | None = None,
    step_size: float = 1.0,
    order: Literal["combine_then_adapt", "adapt_then_combine"] = "combine_then_adapt",
    *,
    corrupt: Corrupt | None = None,
    key: int | jax.Array = 0,
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

    **With a compressor** (CHOCO) a worker sends the compressed change since its last
    message, and its neighbours add up estimates :math:`\hat x` of it:

    .. math:: q_i = C(x_i - \hat x_i), \quad \hat x_i \leftarrow \hat x_i + q_i,
       \quad x_i \leftarrow x_i + u_i + \gamma \sum_j w_{ij} (\hat x_j - \hat x_i)

    The more a compressor drops, the smaller ``step_size`` must be: too large, it
    diverges. It remembers two copies of the parameters, whatever the number of
    neighbours.

    **With a rule** (BRIDGE) the worker and its neighbours are screened, and weights do
    not count: :math:`x_i \leftarrow x_i + u_i + \gamma F(0, x_j - x_i, \dots)`.
    ``trimmed_mean(b)``, ``median()``, ``krum(b)`` and ``bulyan(b)`` are BRIDGE-T, -M,
    -K and -B. The rule sees differences to the worker itself, whose row is the first:
    ``monna(b)`` trusts the worker, ``centered_clipping(r)`` and ``clipping(r,
    then=mean())`` clip around it (ClippedGossip). Where a rule trusts nobody, the
    worker stays. With a compressor too the rule sees the estimates, and each worker
    remembers one of each neighbour.

    A neighbour that is absent (``weight=0``), or whose parameters are not finite, does
    not count: its weight goes back to the worker itself, and a NaN of one worker stays
    with it. (For a robust rule who is not finite is one of the Byzantine.) Parts of the
    parameters that a model axis shards are judged each by itself. Who is absent takes
    its own steps, and is not moved. With a compressor its last estimate stands for it,
    and it is moved on, so that the mean stays.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      topology: Who hears whom, such as ``jaxdist.gossip.ring()``. With a compressor it
        must have one phase, and under a rule equally many neighbours for all workers.
      compressor: :math:`C`, a contraction without a memory of its own, or a policy from
        :func:`jaxdist.compression.by_leaf`.
      rule: :math:`F`, how the worker and its neighbours become one.
      step_size: :math:`\gamma` in (0, 1], share of the way, no unit; it is not
        multiplied by the learning rate.
      order: Whether workers meet where they stood before their steps or after them.
      corrupt: To simulate Byzantine workers, ``(params, sender, receiver, key) ->
        params``: what a worker tells one neighbour in place of its parameters.
      key: Seed or key of compressors and rules that draw, the same on all workers.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers.

    Raises:
      ValueError: If ``step_size`` is out of range or ``order`` unknown; without a rule,
        if the weights of ``topology`` do not keep the mean; if ``compressor`` is no
        contraction or remembers what it did not send, if ``rule`` needs a reference, or
        if ``corrupt`` is given with a compressor. In ``update``, if ``topology`` is not
        for so many workers, has not enough neighbours for ``rule`` or several phases
        with a compressor; if ``params`` is missing or the same on all workers.
      TypeError: If ``topology``, ``compressor`` or ``rule`` is none; in ``init``, if a
        parameter is not floating-point.

    Communication:
      The parameters, or the payload of their change, to each neighbour: :math:`n b`
      for b bytes and :math:`n` neighbours, as packed bytes in :math:`n` permutations,
      or in one all-gather where all hear all. With a ``weight`` a byte more for each
      neighbour.

    Example:
      >>> tx = jaxdist.mix_with_neighbors("worker", jaxdist.gossip.ring())
      >>> def step(params):
      ...     updates, _ = tx.update(jnp.zeros_like(params), tx.init(params), params)
      ...     return params + updates
      >>> print(jax.vmap(step, axis_name="worker")(jnp.array([0.0, 3.0, 6.0, 9.0])))
      [4. 3. 6. 5.]

    References:
      Lian et al., `Can Decentralized Algorithms Outperform Centralized Algorithms?
      <https://arxiv.org/abs/1705.09056>`_, 2017, Algorithm 1. Sayed, `Adaptive
      Networks <https://doi.org/10.1109/JPROC.2014.2306253>`_, 2014, for both orders.
      Koloskova, Stich and Jaggi, `Decentralized Stochastic Optimization and Gossip
      Algorithms with Compressed Communication <https://arxiv.org/abs/1902.00340>`_,
      2019, Algorithm 2 (``"adapt_then_combine"``). Fang, Yang and Bajwa, `BRIDGE:
      Byzantine-resilient Decentralized Gradient Descent
      <https://arxiv.org/abs/1908.08098>`_, 2022, Algorithm 1; there the worker itself
      is never screened away. He, Karimireddy and Jaggi, `Byzantine-Robust Decentralized
      Learning via ClippedGossip <https://arxiv.org/abs/2202.01545>`_, 2022.
    """
    _checks.axis_name(axis_name)
    _topology.check_topology(topology)
    step_size = _checks.real("step_size", step_size, 0.0, 1.0, above=True)
    _checks.one_of("order", order, ("combine_then_adapt", "adapt_then_combine"))
    if rule is None:
        _topology.check_mean("mix_with_neighbors", topology)
    else:
        _screening.check_rule(rule)
    if compressor is not None:
        _estimates.check_compressor(compressor, topology)
    _check_corrupt(corrupt, compressor)
    draws = corrupt is not None or _compressor.may_draw(compressor)
    draws |= rule is not None and rule.draws
    stream = _random.stream_if(draws, key, f"mix_with_neighbors over {axis_name}")
    name = f"mix_with_neighbors({axis_name!r})"

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        degree = _degree_in_state(topology, axis_name, compressor, rule, params)
        estimates = ()
        if compressor is not None:
            estimates = _estimates.init_estimates(
                compressor, params, None if rule is None else degree, axis_name
            )
        memory = () if rule is None else rule.init(degree + 1)
        memory = _worker_state.attach_axis(memory, axis_name)
        count = jnp.zeros((), jnp.int32)
        return MixWithNeighborsState(count, stream, estimates, memory)

    def update(updates, state, params=None, *, weight=None, arrival=None, **extra_args):
        del extra_args
        _checks.own_state(state, MixWithNeighborsState, "mix_with_neighbors")
        _tree.check_arrays("updates", updates)
        state = _tree.arrange_made(state, init, updates)
        network = _network.network_of_step(topology, axis_name, state.count, arrival)
        _own_params.check_own_params("mix_with_neighbors", params, axis_name, arrival)
        updates = _collectives.to_varying(updates, axis_name)
        values = _mixing.values_of(meeting(params, updates), weight, axis_name)
        step = _random.step_key(state.key, state.count)
        with _traffic.sender(init, name):
            met = meet(network, values, state, step)
        updates = _mixing.add_to_updates(updates, met.moves, step_size)
        count = _tree.next_count(state.count)
        return updates, MixWithNeighborsState(
            count, state.key, met.estimates, met.memory
        )

    def meeting(params: Any, updates):
        """Return where this worker stands when it meets its neighbours."""
        if order == "combine_then_adapt":
            return params
        return optax.apply_updates(params, updates)

    def meet(network, values, state, step):
        """Return where neighbours move this worker."""
        meet_all = _meet_dense if compressor is None else _meet_compressed
        return meet_all(network, values, state, step, _Ways(compressor, rule, corrupt))

    return optax.GradientTransformationExtraArgs(init, update)


class _Ways(NamedTuple):
    """How what neighbours say is sent and judged."""

    compressor: Any
    rule: _rule.AggregationRule | None
    corrupt: Corrupt | None


class _Met(NamedTuple):
    """What became of a meeting with all neighbours."""

    moves: list[jax.Array]
    estimates: Any
    memory: _worker_state.PerWorkerState


def _meet_dense(network, values, state, step, ways):
    """Meet neighbours that send all they hold."""
    letters = None
    if ways.corrupt is not None:
        letters = _corruption.letters(ways.corrupt, network, values, step)
    memory = state.rule_memory
    if ways.rule is None:
        heard = _mixing.hear_values(network, values, letters)
        moves = _mixing.mixed_differences(network, values, heard)
        return _Met(moves, state.estimates, memory)
    _screening.check_neighborhoods(ways.rule, network)
    neighbors = network.neighbors(_mixing.hear_values(network, values, letters))
    is_there = None if network.is_regular else network.senders != network.own_index
    if values.is_here is not None:
        neighbors, is_sent = neighbors[:-1], neighbors[-1] > 0
        is_there = is_sent if is_there is None else is_sent & is_there
    moves, memory = _screen(
        network, values.leaves, neighbors, memory, step, ways.rule, is_there
    )
    if values.is_here is not None:
        moves = [jnp.where(values.is_here, move, 0) for move in moves]
    return _Met(moves, state.estimates, memory)


def _meet_compressed(network, values, state, step, ways):
    """Meet neighbours that send compressed changes."""
    degree = None
    if ways.rule is not None:
        _screening.check_neighborhoods(ways.rule, network, ways.compressor)
        degree = network.num_moves
    told = _estimates.tell_changes(
        ways.compressor, network, values, state.estimates, step, degree
    )
    if ways.rule is None:
        return _Met(told.others, told.state, state.rule_memory)
    neighbors = [jnp.moveaxis(leaf, -1, 0) for leaf in told.others]
    moves, memory = _screen(
        network, told.own, neighbors, state.rule_memory, step, ways.rule
    )
    return _Met(moves, told.state, memory)


def _screen(network, own, neighbors, memory, step, rule, is_there=None):
    """Apply the rule with this worker's memory and its own random numbers."""
    key = _random.own_key(step, network.own_index) if rule.draws else None
    before = _worker_state.detach_axis(memory)
    moves, after = _screening.screen(
        rule, own, neighbors, network.axis_name, key, before, is_there
    )
    return moves, _worker_state.attach_axis(after, network.axis_name)


def _degree_in_state(topology, axis_name, compressor, rule, params):
    """Return how many neighbours a state has room for; 0 where it needs none."""
    if rule is None or (compressor is None and rule.init is _rule.no_memory):
        return 0
    # optax.tree_map_params asks for the structure of a state without any leaf.
    if not jax.tree.leaves(params) and not _collectives.is_bound(axis_name):
        return 0
    if topology.num_workers is not None:
        return topology.degree(topology.num_workers)
    why = (
        "The state of mix_with_neighbors holds something for each neighbour under "
        f"{rule.name}"
    )
    with _number.wanted_number(why):
        return topology.degree(_collectives.axis_size(axis_name))


def _check_corrupt(corrupt, compressor):
    """Raise for what corrupts nothing."""
    if corrupt is None:
        return
    _checks.function("corrupt", corrupt, "(params, sender, receiver, key) -> params")
    if compressor is not None:
        raise ValueError(
            "`corrupt` must be None with a `compressor`, of which only changes travel, "
            f"got {corrupt!r}. Put jaxdist.inject_attack before it in the chain."
        )
