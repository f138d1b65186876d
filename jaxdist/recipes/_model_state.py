"""Model state: what a model remembers beside its parameters, such as batch statistics.

Each worker sees its own part of the batch, so the states differ after a step, and one
is made of all: means of what is floating-point, the largest of what counts.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _tree
from jaxdist.workers import _weight


def check_model_state(model_state: Any) -> None:
    """Raise for keys, of which all workers would draw the same."""
    for name, leaf in _tree.named_leaves(model_state):
        if isinstance(leaf, jax.Array) and _tree.is_key(leaf):
            raise ValueError(
                f"`model_state` must not hold a key (leaf {name!r}): all workers would "
                "draw the same from it. Give the recipe a `key`; `loss_fn` then gets "
                "one of its own for each worker and step, as `key=`."
            )


def merge_model_states(
    own: Any,
    before: Any,
    weight: _weight.Weight | None,
    axis_name: _collectives.AxisName,
) -> Any:
    """Return one model state of all workers', equal on all of them.

    Args:
      own: This worker's, after the step.
      before: The one before it, equal on all workers; kept where all are absent.
      weight: How much this worker counts, or None.
      axis_name: Of the workers.
    """
    _check_kept(own, before)
    leaves, treedef = jax.tree.flatten(before)
    if not leaves:
        return before
    after = jax.tree.leaves(own)
    is_float = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    means = means_over_workers(
        [
            _tree.widened(new)
            for new, chosen in zip(after, is_float, strict=True)
            if chosen
        ],
        weight,
        axis_name,
    )
    counters = [
        (new, old)
        for new, old, chosen in zip(after, leaves, is_float, strict=True)
        if not chosen
    ]
    there = None
    if weight is not None:
        here = _weight.own_weight(weight, axis_name) > 0
        counters = [(jnp.where(here, new, old), old) for new, old in counters]
        there = _collectives.pmax(here.astype(jnp.int32), axis_name) > 0
    largest = [_collectives.pmax(new, axis_name) for new, _ in counters]
    merged = [
        (means if chosen else largest).pop(0).astype(old.dtype)
        for old, chosen in zip(leaves, is_float, strict=True)
    ]
    if there is not None:
        merged = [
            jnp.where(there, m, old) for m, old in zip(merged, leaves, strict=True)
        ]
    return treedef.unflatten(merged)


def means_over_workers(
    tree: Any, weight: _weight.Weight | None, axis_name: _collectives.AxisName
) -> Any:
    """Return the means over the workers, equal on all of them; NaN of nobody.

    Args:
      tree: This worker's numbers.
      weight: How much this worker counts, or None.
      axis_name: Of the workers.
    """
    if weight is None:
        num_workers = _collectives.axis_size(axis_name)
        total = _collectives.psum(tree, axis_name)
        return jax.tree.map(lambda x: x / num_workers, total)
    own = _weight.own_weight(weight, axis_name)

    def weigh(leaf):
        # What an absent worker says may be anything.
        with jax.numpy_dtype_promotion("standard"):  # numbers of any kind have a mean
            share = own.astype(jnp.result_type(leaf, jnp.float32))
        return (
            jnp.where(own > 0, leaf, jnp.zeros_like(leaf)).astype(share.dtype) * share
        )

    total, number = _collectives.psum((jax.tree.map(weigh, tree), own), axis_name)
    return jax.tree.map(lambda x: x / number.astype(x.dtype), total)


def _check_kept(own, before):
    """Raise when a step changes what the state is made of."""

    def outline(tree):
        return jax.tree.flatten_with_path(
            jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree
            )
        )

    old, new = outline(before), outline(own)
    if old != new:
        differ = [
            _tree.path_name(path)
            for (path, was), (_, now) in zip(old[0], new[0], strict=False)
            if was != now
        ]
        where = f" (leaf {differ[0]!r})" if differ and old[1] == new[1] else ""
        raise ValueError(
            "`loss_fn` must return a `model_state` of the structure, shapes and dtypes "
            f"that it got{where}."
        )
