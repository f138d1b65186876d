"""Choose the workers with the lowest scores."""

import jax
import jax.numpy as jnp


def score_ranks(scores: jax.Array) -> jax.Array:
    """Return the place of each score in its row, int32 from 0; ties by index."""
    order = jnp.argsort(scores, axis=-1, stable=True)
    return jnp.argsort(order, axis=-1).astype(jnp.int32)


def mean_weights(scores: jax.Array, number: jax.Array | int) -> jax.Array:
    """Return weights ``[1, W]`` that average the workers with the lowest scores.

    Ties go to the lowest index. A worker with an infinite score is never chosen.
    """
    chosen = (score_ranks(scores) < number) & jnp.isfinite(scores)
    return chosen[None].astype(scores.dtype) / jnp.asarray(number, scores.dtype)
