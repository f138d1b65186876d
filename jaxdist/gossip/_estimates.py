"""Estimates: what neighbours know of a worker that sends them compressed changes.

A worker sends what is new since its last message, compressed, and both ends add up what
has arrived (CHOCO). So all that a lossy compressor drops is sent later, and where the
workers stop, the estimates become exact.

Without a rule one sum is enough, of what all neighbours are estimated to be away from
here: two copies of the parameters, whatever the number of neighbours. It is kept as a
sum of differences, so that it vanishes where all agree. With a rule the estimate of
each neighbour is kept.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _random, _traffic, _tree
from jaxdist.compression import _compressor, _feedback, _joint, _per_leaf
from jaxdist.gossip import _mixing, _network, _topology
from jaxdist.workers import _worker_state


class NeighborEstimateState(NamedTuple):
    """What :func:`mix_with_neighbors` remembers with a compressor; else ``()``."""

    own: _worker_state.PerWorkerState  # like params, float32 or wider; varies
    others: _worker_state.PerWorkerState  # sum, or [..., neighbours]; varies
    compressor_state: _worker_state.PerWorkerState  # tree of states; varies


class Told(NamedTuple):
    """What this worker knows after its neighbours have spoken."""

    own: list[jax.Array]  # what they know of it
    others: list[jax.Array]  # a sum of differences, or [..., neighbours]
    state: NeighborEstimateState


def check_compressor(compressor: Any, topology: _topology.Topology) -> None:
    """Raise for what cannot compress changes, or nobody could add up."""
    _per_leaf.check_compressor("compressor", compressor, policies=True)
    if _joint.is_joint(compressor):
        raise ValueError(
            "`compressor` of mix_with_neighbors must compress each leaf by itself, got "
            f"{compressor} with joint=True: leave it out."
        )
    if isinstance(compressor, _compressor.Compressor):
        _check_single(compressor, _feedback.LARGE)
    if topology.key is not None:
        raise ValueError(_one_phase(topology))


def _check_single(compressor, size):
    """Raise unless the compressor contracts, and remembers nothing."""
    if compressor is _per_leaf.DENSE:
        return
    if compressor.incremental or compressor.remembers:
        raise ValueError(
            f"`compressor` {compressor.name} remembers what it did not send, and so do "
            "the estimates of mix_with_neighbors. Give it what is inside: top_k(0.01), "
            "not error_feedback(top_k(0.01))."
        )
    _feedback.check_contraction(compressor, size)


def _one_phase(topology):
    return (
        "`compressor` needs a topology of one phase, since neighbours add up what they "
        f"hear, got {topology.name}. Take exponential() or ring(), or send in a narrow "
        "dtype: parameters in bfloat16 travel so."
    )


def init_estimates(
    compressor: Any, params: Any, num_neighbors: int | None, axis_name: Any
) -> NeighborEstimateState:
    """Return estimates of 0.

    Args:
      compressor: Compressor or policy.
      params: Of this worker, or of all.
      num_neighbors: Of each worker where a rule compares them; else None.
      axis_name: Of the workers.
    """
    _per_leaf.check_patterns(compressor, params)
    _per_leaf.check_dtypes(compressor, "params", params)
    for name, leaf in _tree.named_leaves(params):
        chosen = _per_leaf.select_compressor(compressor, name, leaf)
        _check_single(chosen, jnp.size(leaf))

    def others(leaf):
        if num_neighbors is None:
            return _tree.wide_zeros(leaf)
        return jnp.zeros_like(
            _tree.wide_zeros(leaf), shape=(*leaf.shape, num_neighbors)
        )

    states = _per_leaf.init_states(compressor, params)
    trees = jax.tree.map(_tree.wide_zeros, params), jax.tree.map(others, params), states
    return NeighborEstimateState(
        *(_worker_state.attach_axis(x, axis_name) for x in trees)
    )


def tell_changes(
    compressor: Any,
    network: _network.Network,
    values: _mixing.Values,
    state: Any,
    step_key: Any,
    num_neighbors: int | None,
) -> Told:
    """Send what is new of this worker to its neighbours, and add up what they send.

    Args:
      compressor: Compressor or policy.
      network: Of this step.
      values: Of this worker.
      state: What is remembered, an :class:`NeighborEstimateState`.
      step_key: The same on all workers; None where nobody draws.
      num_neighbors: As in :func:`init_estimates`.
    """
    if len(network.topology.phases(network.num_workers)) > 1:
        raise ValueError(_one_phase(network.topology))
    senders = _senders_of(compressor, values, step_key)
    own, others, states = _load(senders, state, num_neighbors)
    sent, after = [], []
    for sender, estimate, before in zip(senders, own, states, strict=True):
        payload, new = sender.encode(estimate, before, network.own_index)
        sent.append(payload)
        after.append(_kept_if_absent(sender, before, new, values, network.own_index))
    heard = _hear(senders, sent, network, values)
    said = _added(senders, sent, network.own_index, values.is_here)
    own = [old + new for old, new in zip(own, said, strict=True)]
    if num_neighbors is None:
        others = _add_differences(senders, network, heard, said, others)
    else:
        others = _add_each(senders, network, heard, others)
    kept = _store(values, own, others, after, network.axis_name)
    return Told(own, others, kept)


class _Sender(NamedTuple):
    """How one leaf is compressed."""

    name: str
    compressor: _compressor.Compressor
    leaf: jax.Array
    key: Any  # the same on all workers; None where nobody draws

    @property
    def like(self):
        return _tree.like_leaf(self.leaf, _tree.accumulator_dtype(self.leaf.dtype))

    def keys_of(self, worker):
        draws = self.compressor.contract.stochastic
        return _random.keys_of(self.key, worker, draws)

    def encode(self, estimate, state, worker):
        """Return the payload of what is new, where it is finite, and the state."""
        change = self.leaf.astype(estimate.dtype) - estimate
        change = jnp.where(jnp.isfinite(change), change, 0).astype(self.leaf.dtype)
        return self.compressor.encode(change, state, self.keys_of(worker), 1)

    def decode(self, payload, worker, is_there):
        """Return what a payload adds to an estimate; 0 of who is not there."""
        change = self.compressor.decode(payload, self.like, self.keys_of(worker))
        return jnp.where(jnp.isfinite(change) & is_there, change, 0)


def _senders_of(compressor, values, step_key):
    senders = []
    for name, leaf in zip(values.names, values.leaves, strict=True):
        chosen = _per_leaf.select_compressor(compressor, name, leaf)
        _per_leaf.check_dtype(chosen, "params", name, leaf)
        key = _random.named_key(step_key, name)
        senders.append(_Sender(name, chosen, leaf, key))
    return senders


def _load(senders, state, num_neighbors):
    """Return estimates and states of all leaves, by their names in any container."""
    names = [sender.name for sender in senders]
    leaves = [sender.leaf for sender in senders]
    likes = [sender.like for sender in senders]
    trees = [
        _worker_state.detach_axis(x)
        for x in (state.own, state.others, state.compressor_state)
    ]
    wide = likes
    if num_neighbors is not None:
        wide = [jax.ShapeDtypeStruct((*x.shape, num_neighbors), x.dtype) for x in likes]
    compressors = [sender.compressor for sender in senders]
    return (
        _per_leaf.find_arrays(names, likes, trees[0]),
        _per_leaf.find_arrays(names, wide, trees[1]),
        _per_leaf.find_states(compressors, names, leaves, trees[2]),
    )


def _store(values, own, others, after, axis_name):
    """Return the state that holds this of all leaves."""
    trees = (values.treedef.unflatten(x) for x in (own, others, after))
    return NeighborEstimateState(
        *(_worker_state.attach_axis(x, axis_name) for x in trees)
    )


def _kept_if_absent(sender, before, after, values, worker):
    if values.is_here is None:
        return after
    kept = _per_leaf.state_while_absent(
        sender.compressor, before, after, sender.keys_of(worker)
    )
    return jax.tree.map(lambda x, y: jnp.where(values.is_here, x, y), after, kept)


def _hear(senders, payloads, network, values):
    """Return the payloads of the neighbours, and whether they are there."""
    arrays, contents = [], []
    for sender, payload in zip(senders, payloads, strict=True):
        leaves = [array[0] for array in jax.tree.leaves(payload)]
        arrays += leaves
        dense = _tree.leaf_nbytes(sender.leaf)
        nbytes = [_tree.leaf_nbytes(leaf) for leaf in leaves]
        content = _traffic.Content(
            sender.name,
            0.0,
            sender.leaf.shape,
            sender.compressor.name,
            dense=_traffic.all_reduce_bytes(dense, network.num_workers),
        )
        contents += [content._replace(nbytes=number) for number in nbytes]
    sent = values._replace(leaves=arrays)
    return _mixing.hear_values(network, sent, contents=contents)


def _added(senders, payloads, worker, is_here):
    """Return what payloads add to the estimates of a worker."""
    there = True if is_here is None else is_here
    return [
        sender.decode(payload, worker, there)
        for sender, payload in zip(senders, payloads, strict=True)
    ]


def _payloads_of(senders, arrays):
    """Return the payloads in the arrays that a neighbour sent, and what is left."""
    payloads, rest = [], list(arrays)
    for sender in senders:
        like = _per_leaf.payload_like(
            sender.compressor, tuple(sender.leaf.shape), sender.leaf.dtype, 1
        )
        leaves, treedef = jax.tree.flatten(like)
        own, rest = rest[: len(leaves)], rest[len(leaves) :]
        payloads.append(treedef.unflatten(array[None] for array in own))
    return payloads, rest


def _told_by(senders, arrays, worker, is_there):
    """Return what a neighbour's arrays add to its estimates."""
    payloads, rest = _payloads_of(senders, arrays)
    there = is_there if not rest else is_there & (rest[0] > 0)
    return _added(senders, payloads, worker, there)


def _add_differences(senders, network, heard, said, totals):
    """Return the sums of differences to this worker, with what all have said."""
    dtype = _tree.accumulator_dtype(*(x.dtype for x in said))
    weights = network.in_places(heard, network.weights(dtype))
    workers = network.senders_in_places(heard)

    def add(totals, arrays, place):
        there = weights[place] > 0
        news = _told_by(senders, arrays, workers[place], there)
        share = weights[place]
        return [
            total + share.astype(total.dtype) * (new - own)
            for total, new, own in zip(totals, news, said, strict=True)
        ]

    return network.each(heard, add, list(totals))


def _add_each(senders, network, heard, estimates):
    """Return the estimates ``[..., neighbours]`` with what each has said."""
    rows = network.neighbors(heard)
    for move in range(network.num_moves):
        arrays = [row[move] for row in rows]
        news = _told_by(senders, arrays, network.senders[move], True)
        estimates = [
            old.at[..., move].add(new) for old, new in zip(estimates, news, strict=True)
        ]
    return estimates
