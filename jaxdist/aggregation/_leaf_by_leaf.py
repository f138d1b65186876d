"""Leaf by leaf: a rule that judges each leaf as if it were the whole gradient.

`aggregate(scope="leaf")` applies itself to each leaf with all other leaves taken out.
So names, keys and states are as they would be together, and no rule and no route knows
of it.
"""

from typing import Any

import jax
import optax

from jaxdist import _tree

SCOPES = ("gradient", "leaf")


def apply_to_each_leaf(
    tx: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """Apply a transformation to each leaf alone, with a state for each.

    Args:
      tx: What takes an extra argument ``reference``, a tree like the updates or None.
    """

    def init(params):
        leaves, treedef = jax.tree.flatten(params)
        states = [tx.init(_only_leaf(params, i)) for i in range(len(leaves))]
        return treedef.unflatten(states)

    def update(updates, state, params=None, *, reference=None, **extra_args):
        leaves, treedef = jax.tree.flatten(updates)
        results = [
            tx.update(
                _only_leaf(updates, i),
                _tree.arrange_made(before, tx.init, _only_leaf(updates, i)),
                params,
                reference=_only_leaf(reference, i),
                **extra_args,
            )
            for i, before in enumerate(treedef.flatten_up_to(state))
        ]
        merged = [jax.tree.leaves(result)[0] for result, _ in results]
        after = [state for _, state in results]
        return treedef.unflatten(merged), treedef.unflatten(after)

    return optax.GradientTransformationExtraArgs(init, update)


def _only_leaf(tree: Any, index: int) -> Any:
    """Return the tree with nothing but one leaf, which keeps its name."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten(
        [leaf if i == index else None for i, leaf in enumerate(leaves)]
    )
