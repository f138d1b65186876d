"""Attack: what Byzantine workers send instead of their updates.

Most attacks of the literature see all honest updates, so a worker's own updates are not
enough. `Attack` has one function for either kind. Attackers in collusion get updates as
flat rows, so that one geometry covers the whole gradient, and the honest rows apart
from their own. Attacks with partial knowledge use their own rows alone.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _random, _tree


class SeenUpdates(NamedTuple):
    """What attackers that collude see: each worker's updates as one flat row."""

    honest: jax.Array  # [W - f, n], at least float32
    own: jax.Array  # [f, n]: what the attackers would send if they were honest


def _no_memory(updates: Any) -> Any:
    """Return the state of attacks that remember nothing."""
    del updates
    return ()


def _any_numbers(num_workers: int, num_byzantine: int) -> None:
    """Accept every number of workers and attackers."""


# No tuple: `jax.jit(attack)` needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Attack:
    """What Byzantine workers send: each on its own, or all of them in collusion.

    Give it to :func:`inject_attack`, or call it on stacked updates without any
    mesh: ``attack(stacked, num_byzantine, key)`` replaces the rows of the last
    ``num_byzantine`` workers.

    Attributes:
      corrupt: ``(updates, key) -> updates`` of one worker that knows no updates but its
        own, with its own key, which is None unless the attack ``draws``. None for
        attacks that collude.
      name: How errors and tables call it.
      collude: ``(seen, state, key) -> (rows, state)`` of attackers that see
        :class:`jaxdist.attacks.SeenUpdates`, and share a key; ``rows`` is what each of
        them sends, ``[f, n]``, or ``[n]`` when all send the same. None for the others.
      init: ``(updates) -> state`` of a ``collude`` that remembers, from the updates of
        one worker or from their shapes; equal on all workers.
      check: ``(num_workers, num_byzantine) -> None``; raises when the attack is not
        possible with so many.
      draws: Whether the attackers use their key. Without it there is none, and states
        hold none.
    """

    corrupt: Callable[[Any, Any], Any] | None = None
    name: str = "custom attack"
    collude: Callable[[SeenUpdates, Any, Any], tuple[jax.Array, Any]] | None = None
    init: Callable[[Any], Any] = _no_memory
    check: Callable[[int, int], None] = _any_numbers
    draws: bool = False

    def __post_init__(self):
        """Raise unless it is clear what the attackers know."""
        if (self.corrupt is None) == (self.collude is None):
            raise ValueError(
                "An Attack needs either `corrupt`, for workers that know nothing but "
                "their own updates, or `collude`, for workers that see all updates."
            )

    def __repr__(self):
        return self.name

    def __call__(
        self, stacked: Any, num_byzantine: int, key: jax.Array | None = None
    ) -> Any:
        """Corrupt the last ``num_byzantine`` of the workers stacked ``[W, ...]``."""
        key = _random.as_key(0 if key is None else key)
        state = self.init(jax.tree.map(lambda leaf: leaf[0], stacked))
        return self.step(stacked, state, num_byzantine, key)[0]

    def step(
        self, stacked: Any, state: Any, num_byzantine: int, key: jax.Array
    ) -> tuple[Any, Any]:
        """Do the same for an attack with memory; return what is sent, and the state.

        Args:
          stacked: Pytree of arrays ``[W, ...]``.
          state: What ``init`` or the last step returned.
          num_byzantine: Workers that attack, those with the highest indices.
          key: Typed key of this step.
        """
        leaves, treedef = jax.tree.flatten(stacked)
        num_workers = leaves[0].shape[0] if leaves else 0
        self.check_numbers(num_workers, num_byzantine)
        if not leaves or not num_byzantine:
            return stacked, state
        num_honest = num_workers - num_byzantine
        bad, state = self._rows_of_attackers(leaves, treedef, state, num_honest, key)
        sent = (
            jnp.concatenate([leaf[:num_honest], rows])
            for leaf, rows in zip(leaves, bad, strict=True)
        )
        return treedef.unflatten(sent), state

    def _rows_of_attackers(self, leaves, treedef, state, num_honest, key):
        """Return the leaves ``[f, ...]`` that the attackers send, and the state."""
        num_workers = leaves[0].shape[0]
        if self.corrupt is not None:
            own = treedef.unflatten(leaf[num_honest:] for leaf in leaves)
            attackers = jnp.arange(num_honest, num_workers)
            keys = None
            if self.draws:
                keys = jax.vmap(lambda index: _random.own_key(key, index))(attackers)
            bad = jax.vmap(self.corrupt)(own, keys)
            return jax.tree.leaves(like_updates(bad, own)), state
        rows, state = self.conspire(leaves, num_honest, state, key)
        rows = jnp.broadcast_to(rows, (num_workers - num_honest, rows.shape[-1]))
        like = [leaf[0] for leaf in leaves]
        return jax.vmap(lambda row: from_row(row, like))(rows), state

    def conspire(
        self, leaves: Sequence[jax.Array], num_honest: int, state: Any, key: Any
    ) -> tuple[jax.Array, Any]:
        """Return ``rows`` and state of ``collude``, given all workers' leaves."""
        if self.collude is None:
            raise TypeError(f"The workers of {self.name} do not collude.")
        rows = to_rows(leaves)
        seen = SeenUpdates(rows[:num_honest], rows[num_honest:])
        return self.collude(seen, state, key if self.draws else None)

    def check_numbers(self, num_workers: int, num_byzantine: int) -> None:
        """Raise when so many cannot attack, or not in this way."""
        _checks.integer("num_byzantine", num_byzantine, 0)
        _checks.byzantine_count(self.name, num_byzantine, num_workers, num_workers)
        if num_byzantine:
            self.check(num_workers, num_byzantine)


def colluding_attack(
    name: str,
    craft: Callable[[SeenUpdates, Any], jax.Array],
    num_honest: int = 1,
    check: Callable[[int, int], None] = _any_numbers,
    draws: bool = False,
) -> Attack:
    """Return an attack without memory by workers that see all updates.

    Args:
      name: How errors and tables call it.
      craft: ``(seen, key) -> rows``.
      num_honest: How many workers must be honest at least.
      check: Raises when the attack is not possible for other reasons.
      draws: Whether ``craft`` uses its key.
    """

    def collude(seen, state, key):
        return craft(seen, key), state

    def check_all(num_workers, num_byzantine):
        largest = num_workers - num_honest
        _checks.byzantine_count(name, num_byzantine, num_workers, largest)
        check(num_workers, num_byzantine)

    return Attack(name=name, collude=collude, check=check_all, draws=draws)


def like_updates(bad: Any, updates: Any) -> Any:
    """Return what attackers send in the dtypes of the updates that it replaces."""
    return jax.tree.map(lambda x, like: x.astype(like.dtype), bad, updates)


def to_rows(leaves: Sequence[jax.Array]) -> jax.Array:
    """Join leaves ``[W, ...]`` to ``[W, n]`` in float32 or wider."""
    dtype = row_dtype(leaves)
    return jnp.concatenate(
        [leaf.reshape(leaf.shape[0], -1).astype(dtype) for leaf in leaves], axis=1
    )


def from_row(row: jax.Array, like: Sequence[Any]) -> list[jax.Array]:
    """Cut a row ``[n]`` into leaves of these shapes and dtypes."""
    parts = _tree.split_flat(row, (math.prod(leaf.shape) for leaf in like))
    return [
        part.reshape(leaf.shape).astype(leaf.dtype)
        for part, leaf in zip(parts, like, strict=True)
    ]


def row_dtype(leaves: Sequence[Any]) -> Any:
    """Return the dtype of rows, or raise when leaves are no real numbers."""
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                "`updates` must be real floating-point numbers for workers that "
                f"collude, but a leaf is {leaf.dtype}. Leave it out with optax.masked "
                "or optax.partition."
            )
    return _tree.accumulator_dtype(*(leaf.dtype for leaf in leaves))
