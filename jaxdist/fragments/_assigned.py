"""Assigned: fragments of one's own choice."""

from collections.abc import Callable
from typing import Any

import jax

from jaxdist import _checks, _tree
from jaxdist.fragments import _fragments


def assigned(choice: Callable[[str, Any], int] | Any) -> _fragments.Fragments:
    """Give every leaf to the fragment that a function or a tree says.

    Args:
      choice: ``(name, leaf) -> fragment`` with names such as ``"layers/3/kernel"``; or
        a tree of ints like the parameters, or like the top of their tree. Fragments
        count from 0, which is exchanged first; none may be empty.

    Returns:
      Fragments for ``data_parallel(..., outer=..., fragments=...)``. Where the tree
      does not fit the parameters, where a number is no integer of at least 0, or where
      a fragment is empty, a recipe raises a ValueError.

    Raises:
      ValueError: If ``choice`` is a tree with something else than ints of at least 0.

    Communication:
      None.

    Example:
      >>> params = {"head": jnp.ones(1), "layers": [jnp.ones(1), jnp.ones(1)]}
      >>> chosen = jaxdist.fragments.assigned({"head": 0, "layers": 1})
      >>> print(*(len(jax.tree.leaves(part)) for part in chosen.split(params)))
      1 2
    """
    if callable(choice):
        return _fragments.Fragments(
            "assigned(...)", lambda params: _numbers_by_name(choice, params)
        )
    leaves = [
        (f"choice[{name!r}]" if name else "choice", number)
        for name, number in _tree.named_leaves(choice)
    ]
    for name, number in leaves:
        _checks.integer(name, number, 0)
    if not leaves:
        raise ValueError(
            "`choice` must be a function (name, leaf) -> fragment, or a tree of ints "
            f">= 0, got {choice!r}."
        )
    return _fragments.Fragments(
        "assigned(...)", lambda params: _numbers_by_tree(choice, params)
    )


def _numbers_by_name(choose, params):
    """Return what a function says of each leaf."""
    return [
        _checks.integer(f"choice({name!r}, leaf)", choose(name, leaf), 0)
        for name, leaf in _tree.named_leaves(params)
    ]


def _numbers_by_tree(choice, params):
    """Return what a tree, or the top of one, says of each leaf."""
    try:
        spread = jax.tree.broadcast(choice, params)
    except ValueError as error:
        raise ValueError(
            "`choice` must be a tree like the parameters, or like the top of their "
            f"tree, got {choice!r}."
        ) from error
    return [int(number) for number in jax.tree.leaves(spread)]
