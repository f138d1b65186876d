"""Blocks: the layers of a network, found by the names of its leaves.

What belongs to a layer must be exchanged at one time, else half of it would be new.
No library marks its layers, but all number them.
"""

import re
from collections.abc import Callable
from typing import Any

from jaxdist import _tree
from jaxdist.fragments import _fragments


def block_name(name: str) -> str:
    """Return the name of the block to which a leaf belongs.

    It ends with the first part of the path that has a digit: ``"layers/3"`` of
    ``"layers/3/mlp/kernel"``, ``"layers_3"`` of ``"layers_3/kernel"``. Without a digit
    it is the path without its last part: ``"embed"`` of ``"embed/kernel"``; a leaf at
    the top is a block of its own.

    Args:
      name: Path of a leaf.
    """
    parts = name.split("/")
    for end, part in enumerate(parts, 1):
        if re.search(r"\d", part):
            return "/".join(parts[:end])
    return "/".join(parts[:-1]) or name


def ordered_blocks(names: list[str]) -> list[str]:
    """Return the blocks in the order of the tree, those of a kind by their numbers.

    Trees sort keys as texts, in which ``"layers_10"`` comes before ``"layers_2"``.

    Args:
      names: Of all leaves.
    """
    blocks = list(dict.fromkeys(map(block_name, names)))
    kinds = list(dict.fromkeys(map(_kind_of, blocks)))

    def place(block):
        return kinds.index(_kind_of(block)), _numbers_in(block)

    return sorted(blocks, key=place)


def _kind_of(block):
    """Return the name of a block without its numbers."""
    return re.sub(r"\d+", "#", block)


def _numbers_in(block):
    return [int(digits) for digits in re.findall(r"\d+", block)]


def by_blocks(
    name: str, num_fragments: int, number_block: Callable[[int, int], int]
) -> _fragments.Fragments:
    """Return fragments that hold whole blocks.

    Args:
      name: How errors call them.
      num_fragments: How many there are.
      number_block: ``(index, number of blocks) -> fragment`` of a block.
    """

    def number_leaves(params: Any) -> list[int]:
        names, _, _ = _tree.flatten_named(params)
        blocks = ordered_blocks(names)
        if len(blocks) < num_fragments:
            raise ValueError(
                f"`num_fragments` must be at most the number of blocks, {len(blocks)}, "
                f"got {num_fragments} in {name}. The blocks are {blocks}; cut them "
                "otherwise with jaxdist.fragments.assigned(...)."
            )
        place = {block: number_block(i, len(blocks)) for i, block in enumerate(blocks)}
        return [place[block_name(name)] for name in names]

    return _fragments.Fragments(name, number_leaves)
