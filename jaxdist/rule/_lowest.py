"""Choose the workers with the lowest scores."""

import jax
import jax.numpy as jnp


def mean_weights(scores: jax.Array, number: int) -> jax.Array:
    """Return weights ``[1, W]`` that average those of the lowest scores ``[W]``.

    Ties go to the lowest index. Who has an infinite score is never chosen.
    """
    rank = jnp.argsort(jnp.argsort(scores, stable=True))
    chosen = (rank < number) & jnp.isfinite(scores)
    return chosen[None].astype(scores.dtype) / number
