"""Skipped step: all workers leave it out, though its collectives run.

The wrapped transformation runs on zeros, and then the old state is kept, leaf by leaf.
A branch would save time in steps that hardly ever come, but collectives inside branches
are a promise about all workers, which types do not carry on every backend.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdist import _tree


def step_unless_skipped(
    counts: jax.Array,
    inner: optax.GradientTransformationExtraArgs,
    updates: Any,
    state: Any,
    params: Any,
    extra_args: dict[str, Any],
) -> tuple[Any, Any]:
    """Return updates and state of ``inner``; zeros and the old state in a skipped step.

    Args:
      counts: Whether the step is not skipped; bool, shape (), equal on all workers.
      inner: Perhaps with collectives, which must run wherever they are compiled.
      updates: For ``inner``.
      state: Of ``inner``.
      params: For ``inner``.
      extra_args: For ``inner``.
    """

    def or_zeros(leaf):
        return jnp.where(counts, leaf, jnp.zeros_like(leaf))

    updates, moved = inner.update(
        jax.tree.map(or_zeros, updates), state, params, **extra_args
    )
    state = _tree.arrange_like(moved, state)
    kept = jax.tree.map(lambda new, old: jnp.where(counts, new, old), moved, state)
    return jax.tree.map(or_zeros, updates), kept
