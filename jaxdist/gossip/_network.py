"""Network: the messages of one step, as bytes, from each worker to its neighbours.

What all hear from all travels in one all-gather: it sends the same bytes as a message
to each other worker. All other topologies are permutations, one for each neighbour.

Leaves that a model axis shards travel apart from all others: packed into one message,
all would come back typed as varying over that axis.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _collectives, _traffic, _tree, _wire
from jaxdist.gossip import _topology
from jaxdist.workers import _arrival

Letters = Callable[[int], Sequence[jax.Array]]  # what goes to the receiver of a move


class Heard(NamedTuple):
    """What this worker hears of its neighbours; one of the two is there."""

    moves: list[list[jax.Array]] | None  # of each neighbour
    rows: list[jax.Array] | None  # [W, ...] of all workers, itself included


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A topology among the workers of an axis, in one step."""

    topology: _topology.Topology
    axis_name: _collectives.AxisName
    num_workers: int
    phase: Any  # int32, shape (), equal on all workers; 0 where there is only one

    @property
    def own_index(self) -> jax.Array:
        """Index of this worker."""
        return _collectives.axis_index(self.axis_name)

    @functools.cached_property
    def sources(self) -> np.ndarray:
        """Whom each worker hears in each move and phase, int ``[phases, moves, W]``."""
        phases = self.topology.phases(self.num_workers)
        moves = max(len(phase.sources) for phase in phases)
        table = np.tile(np.arange(self.num_workers), (len(phases), moves, 1))
        for row, phase in zip(table, phases, strict=True):
            row[: len(phase.sources)] = phase.sources
        return table

    @property
    def num_moves(self) -> int:
        """To how many others a worker sends at most."""
        return self.sources.shape[1]

    @property
    def is_regular(self) -> bool:
        """Whether every worker hears another one in each move."""
        return bool(np.all(self.sources != np.arange(self.num_workers)))

    @property
    def gathers(self) -> bool:
        """Whether all hear all others, which one all-gather does."""
        (phase, *more) = self.topology.phases(self.num_workers)
        return not more and bool(np.all(phase.num_heard == self.num_workers - 1))

    @property
    def senders(self) -> jax.Array:
        """Whom this worker hears in each move, int32 ``[moves]``; itself for nobody."""
        return self._of_own(self.sources).astype(jnp.int32)

    @property
    def receivers(self) -> jax.Array:
        """To whom this worker sends in each move, int32 ``[moves]``; -1 for nobody."""
        table = np.full_like(self.sources, -1)
        workers = np.arange(self.num_workers)
        for phase, move in np.ndindex(table.shape[:2]):
            sources = self.sources[phase, move]
            real = sources != workers
            table[phase, move, sources[real]] = workers[real]
        return self._of_own(table).astype(jnp.int32)

    @property
    def own_share(self) -> jax.Array:
        """What this worker keeps of its own, shape ()."""
        phases = self.topology.phases(self.num_workers)
        return self._of_own(np.stack([phase.own for phase in phases])[:, None])[0]

    def weights(self, dtype: Any) -> jax.Array:
        """Return what this worker gives to what it hears in each move, ``[moves]``."""
        table = np.zeros(self.sources.shape)
        phases = self.topology.phases(self.num_workers)
        for row, phase in zip(table, phases, strict=True):
            row[: len(phase.weights)] = phase.weights
        return self._of_own(table).astype(dtype)

    def _of_own(self, table: np.ndarray) -> jax.Array:
        """Return the column ``[moves]`` of this worker, of the phase of this step."""
        return jnp.asarray(table)[self.phase, :, self.own_index]

    def hear(
        self,
        arrays: Sequence[jax.Array],
        contents: Sequence[_traffic.Content],
        letters: Letters | None = None,
    ) -> Heard:
        """Send arrays ``[1, ...]`` to all neighbours, and return what they sent.

        Args:
          arrays: What every neighbour gets.
          contents: What each of them is, for reports.
          letters: ``(move) -> arrays`` for the neighbour of a move, in place of those
            that all get.
        """
        groups = groups_of(arrays, self.axis_name)
        if self.gathers and letters is None:
            heard = [
                self._gather([arrays[i] for i in group], [contents[i] for i in group])
                for group in groups
            ]
            return Heard(None, _in_order(groups, heard))
        moves = []
        for move in range(self.num_moves):
            sent = arrays if letters is None else letters(move)
            heard = [
                self._move(move, [sent[i] for i in group], [contents[i] for i in group])
                for group in groups
            ]
            moves.append(_in_order(groups, heard))
        return Heard(moves, None)

    def _gather(self, arrays, contents):
        """Return ``[W, ...]`` of all."""
        with _traffic.contents(contents):
            return _collectives.gather_arrays(arrays, self.axis_name)

    def _move(self, move, arrays, contents):
        """Return ``[...]`` of the worker that this one hears in a move."""
        message = _wire.pack_message(arrays)[0]
        with _traffic.contents(contents):
            heard = _collectives.permute(
                message, self.sources[:, move], self.axis_name, self.phase
            )
        return [x[0] for x in _wire.unpack_message(heard[None], arrays)]

    def each(
        self, heard: Heard, function: Callable[[Any, list[jax.Array], Any], Any], carry
    ) -> Any:
        """Return ``carry`` after ``function(carry, arrays, place)`` of each neighbour.

        Args:
          heard: What came of all.
          function: Keeps structure, shapes, dtypes and manual axis types of the carry.
          carry: Varies over workers. ``place`` is that in :meth:`in_places`.
        """
        if heard.rows is None:
            for move, arrays in enumerate(heard.moves or ()):
                carry = function(carry, arrays, move)
            return carry
        rows = heard.rows

        def turn(worker, carry):
            found = [
                jax.lax.dynamic_index_in_dim(x, worker, keepdims=False) for x in rows
            ]
            return function(carry, found, worker)

        return jax.lax.fori_loop(0, self.num_workers, turn, carry)

    def in_places(self, heard: Heard, of_moves: jax.Array) -> jax.Array:
        """Return what is known of moves ``[moves]`` for the places of ``each``.

        Where all workers were gathered a place is a worker; its own has a 0.
        """
        if heard.rows is None:
            return of_moves
        zeros = jnp.zeros_like(of_moves, shape=(self.num_workers,))
        return zeros.at[self.senders].set(of_moves)

    def senders_in_places(self, heard: Heard) -> jax.Array:
        """Return who is heard in each of the places of ``each``, int32."""
        if heard.rows is None:
            return self.senders
        return jnp.arange(self.num_workers, dtype=jnp.int32)

    def neighbors(self, heard: Heard) -> list[jax.Array]:
        """Return arrays ``[moves, ...]`` of what came of all neighbours."""
        if heard.rows is not None:
            return [rows[self.senders] for rows in heard.rows]
        moves = heard.moves or []
        return [jnp.stack(of_all) for of_all in zip(*moves, strict=True)]


def network_of_step(
    topology: _topology.Topology,
    axis_name: _collectives.AxisName,
    count: jax.Array,
    arrival: _arrival.Arrival | None,
) -> Network:
    """Return the network of a step.

    Args:
      topology: Who hears whom.
      axis_name: Of the workers.
      count: Of the step, from 0.
      arrival: What ``tx.update`` got as ``arrival=``, or None.
    """
    num_workers = _arrival.identity_of(arrival, axis_name).num_workers
    if not _arrival.meets_everybody(arrival):
        raise ValueError(
            f"`topology` {topology.name} is one of all {num_workers} workers, but here "
            "not all of them meet in one update. Let them: with the protocol "
            f"jaxdist.timing.k_sync({num_workers})."
        )
    phase = 0
    if len(topology.phases(num_workers)) > 1:
        phase = topology.phase_of_step(num_workers, count)
    return Network(topology, axis_name, num_workers, phase)


def groups_of(
    arrays: Sequence[jax.Array], axis_name: _collectives.AxisName
) -> list[list[int]]:
    """Return which arrays travel together: those that vary over the same axes."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, array in enumerate(arrays):
        groups.setdefault(_collectives.other_axes(array, axis_name), []).append(i)
    return [groups[axes] for axes in sorted(groups)]


def _in_order(groups, values):
    """Return one list of what came in groups."""
    found = {
        i: value
        for group, of_group in zip(groups, values, strict=True)
        for i, value in zip(group, of_group, strict=True)
    }
    return [found[i] for i in range(len(found))]


def dense_contents(
    named: Sequence[tuple[str, Any]], num_workers: int
) -> list[_traffic.Content]:
    """Return what messages of whole leaves hold.

    Args:
      named: Names and leaves.
      num_workers: W.
    """
    return [
        _traffic.Content(
            name,
            _tree.leaf_nbytes(leaf),
            leaf.shape,
            "identity()",
            dense=_traffic.all_reduce_bytes(_tree.leaf_nbytes(leaf), num_workers),
        )
        for name, leaf in named
    ]
