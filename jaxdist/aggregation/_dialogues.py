"""Dialogues: means found in several all-reduces, each for all leaves at once.

The rounds of a dialogue (PowerSGD) travel together: one message per round for all
leaves. Those of small leaves of one shape are mapped as one. For robust rules, and in
pipelines without a network, `encode` and `decode` still give every worker's own
factors.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _traffic
from jaxdist.aggregation import _leaf_plan, _routes, _workers
from jaxdist.compression import _compressor

_SMALL = 2**17  # elements of a leaf that shares its dialogue with others


class Talk(NamedTuple):
    """A dialogue about leaves that are alike, held for all of them at once."""

    dialogue: _compressor.Dialogue
    plans: list[_leaf_plan.LeafPlan]
    indices: list[int]  # of the leaves
    about: tuple[Any, Any, Any]  # leaf, state and keys, one row for each of the leaves
    means: list[Any]  # of the rounds so far, in such rows

    def ask(self, function: Callable[..., Any]) -> Any:
        """Return what a round, or the finish, makes of each of the leaves."""
        return jax.vmap(function)(*self.about, tuple(self.means))

    def finish(self) -> tuple[Any, Any]:
        """Return the means of all leaves and their new states, in rows."""
        return self.ask(self.dialogue.finish)

    def contents(self, payload: Any) -> list[_traffic.Content]:
        """Return what the report says of the payload of one round."""
        rows = range(len(self.plans))
        return [
            plan.content(jax.tree.map(operator.itemgetter(row), payload))
            for plan, row in zip(self.plans, rows, strict=True)
        ]


def begin_talks(
    outgoing: Sequence[Any],
    leaves: Sequence[jax.Array],
    states: Sequence[Any],
    workers: _workers.Workers,
) -> list[Talk]:
    """Return the dialogues of all leaves that have one."""
    alike: dict[Any, list[int]] = {}
    for i, item in enumerate(outgoing):
        plan = item.plan
        if plan.dialogue is not None:
            kind = (plan.compressor, plan.other_axes, leaves[i].shape, leaves[i].dtype)
            # A large leaf keeps the machine busy alone, and would have to be copied.
            alike.setdefault(kind if leaves[i].size <= _SMALL else i, []).append(i)
    if not alike:
        return []

    def rows_of(i):
        return leaves[i], states[i], outgoing[i].keys_of(workers.index)

    return [
        Talk(
            outgoing[indices[0]].plan.dialogue,
            [outgoing[i].plan for i in indices],
            indices,
            jax.tree.map(lambda *rows: jnp.stack(rows), *map(rows_of, indices)),
            [],
        )
        for indices in alike.values()
    ]


def hold_rounds(
    talks: Sequence[Talk], riding: Sequence[Any], workers: _workers.Workers
) -> list[Any]:
    """Hold all rounds of all dialogues, one message for each.

    Args:
      talks: Which remember the means.
      riding: Leaves without a dialogue whose payloads travel with the first round.
      workers: Who takes part.

    Returns:
      The mean payloads of those that rode along.
    """
    arrived: list[Any] = []
    for turn in range(max((len(talk.dialogue.rounds) for talk in talks), default=0)):
        speaking = [talk for talk in talks if turn < len(talk.dialogue.rounds)]
        payloads = [
            workers.silence_absent(talk.ask(talk.dialogue.rounds[turn]))
            for talk in speaking
        ]
        passengers = [] if turn else riding
        contents = [item.plan.content(item.payload) for item in passengers]
        for talk, payload in zip(speaking, payloads, strict=True):
            contents += talk.contents(payload)
        others = [item.payload for item in passengers]
        with _traffic.contents(contents):
            answers, others = _reduce_round(payloads, others, workers)
        for talk, answer in zip(speaking, answers, strict=True):
            talk.means.append(answer)
        arrived += others
    return arrived


def _reduce_round(payloads, others, workers):
    """Return the means of what all say in a round, and of who rides along."""
    whole = (jax.tree.map(operator.itemgetter(None), payloads), others)
    arrays, treedef = jax.tree.flatten(whole)
    # All in one: XLA would also merge the second round of one leaf with the first of
    # another, into as many messages as leaves.
    answers, others = treedef.unflatten(_routes.reduce_packed(arrays, workers))
    return jax.tree.map(operator.itemgetter(0), answers), others
