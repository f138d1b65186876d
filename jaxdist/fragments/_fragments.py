"""Fragments: a partition of the leaves of a tree, and the trees of its parts.

In the tree of a part the other leaves leave holes (`optax.MaskedNode`), as they do in
`optax.partition`. So all leaves keep their names, by which compressors are chosen,
randomness is drawn and masks are made.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax


@dataclasses.dataclass(frozen=True)
class Fragments:
    """Which parameters are exchanged together, and which first.

    Made by :func:`strided`, :func:`sequential` and :func:`assigned`.

    Attributes:
      name: How errors call it.
      number_leaves: ``(params) -> numbers``: of each leaf, in the order of
        ``jax.tree.leaves``, the fragment to which it belongs, an int from 0.
    """

    name: str
    number_leaves: Callable[[Any], list[int]]

    def __repr__(self):
        return self.name

    def split(self, params: Any) -> tuple[Any, ...]:
        """Return a tree for each fragment, with holes in place of all other leaves.

        ``[jaxdist.communication_report(outer, part, W) for part in
        fragments.split(params)]`` says what each exchange sends.

        Args:
          params: Parameters, or their shapes and dtypes.

        Raises:
          ValueError: If a fragment would be empty.
        """
        numbers = self._checked_numbers(params)
        leaves, treedef = jax.tree.flatten(params)

        def part(fragment):
            return treedef.unflatten(
                leaf if number == fragment else optax.MaskedNode()
                for leaf, number in zip(leaves, numbers, strict=True)
            )

        return tuple(map(part, range(max(numbers) + 1)))

    def join(self, parts: tuple[Any, ...], like: Any) -> Any:
        """Invert :meth:`split`: return one tree of the parts of all fragments.

        Args:
          parts: Trees as :meth:`split` returns them, of any leaves.
          like: A tree of the structure of the parameters.
        """
        numbers = self._checked_numbers(like)
        rows = [iter(jax.tree.leaves(part)) for part in parts]
        return jax.tree.structure(like).unflatten(next(rows[n]) for n in numbers)

    def _checked_numbers(self, params):
        """Return the fragment of each leaf, or raise where one would be empty."""
        numbers = self.number_leaves(params)
        if not numbers:
            raise ValueError(
                f"`params` must have leaves for {self.name}, got {params}."
            )
        used = set(numbers)
        empty = next(number for number in range(len(used) + 1) if number not in used)
        if empty < max(used):
            raise ValueError(
                f"{self.name} must give each fragment from 0 to {max(used)} a leaf, "
                f"got none for {empty}."
            )
        return numbers


def whole() -> Fragments:
    """Return the partition that cuts nothing."""
    return Fragments("one fragment", lambda params: [0] * len(jax.tree.leaves(params)))
