"""Corruption: what a simulated Byzantine worker tells each neighbour."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _random
from jaxdist.gossip import _mixing, _network

# (params, sender, receiver, key) -> params
Corrupt = Callable[[Any, jax.Array, jax.Array, jax.Array], Any]


def letters(
    corrupt: Corrupt,
    network: _network.Network,
    values: _mixing.Values,
    step_key: jax.Array,
) -> Callable[[int], list[jax.Array]]:
    """Return what goes to the neighbour of each move.

    Args:
      corrupt: Of :func:`jaxdist.mix_with_neighbors`.
      network: Of this step.
      values: Of this worker.
      step_key: The same on all workers.
    """
    sender = network.own_index
    own = _random.own_key(_random.named_key(step_key, "corrupt"), sender)
    said = values.treedef.unflatten(values.leaves)

    def letter(move):
        receiver = jnp.maximum(network.receivers[move], 0)  # nobody reads the others
        key = _random.own_key(own, receiver)
        return _like_said(corrupt(said, sender, receiver, key), values)

    return letter


def _like_said(made: Any, values: _mixing.Values) -> list[jax.Array]:
    """Return leaves that were made up, with the shapes and dtypes of the true ones."""
    given, treedef = jax.tree.flatten(made)
    shapes = [jnp.shape(leaf) for leaf in given]
    if treedef != values.treedef or shapes != [x.shape for x in values.leaves]:
        raise ValueError(
            "`corrupt` must return leaves of the structure and the shapes that it "
            f"gets, {[x.shape for x in values.leaves]}, got {shapes}."
        )
    pairs = zip(given, values.leaves, strict=True)
    return [jnp.asarray(leaf).astype(like.dtype) for leaf, like in pairs]
