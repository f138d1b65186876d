"""Real gradients: consecutive ones of a batch, a hundred steps into training.

The examples must be on the path: PYTHONPATH=examples.
"""

import datasets
import jax
import jax.numpy as jnp
import model
import optax
import transformer

STEPS, KEPT = 100, 4


def all_of_them() -> dict:
    """Return ``{name: [tree of gradients of each of the last steps]}``."""
    digits = datasets.load("digits")
    return {
        "CNN on digits": _train(
            lambda params, batch: model.loss(params, batch)[0],
            model.init(0, digits.train_images),
            datasets.batches(digits, 32, 0),
        ),
        "transformer on bytes": _train(
            transformer.loss, transformer.init(), transformer.batches(8, 0)
        ),
    }


def flat(tree) -> jax.Array:
    """Return all elements of a tree as one vector."""
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _train(loss, params, batches):
    """Train with Adam, and return the gradients of the last steps."""
    tx = optax.adam(2e-3)

    @jax.jit
    def step(params, state, batch):
        gradient = jax.grad(loss)(params, batch)
        updates, state = tx.update(gradient, state)
        return optax.apply_updates(params, updates), state, gradient

    state, kept = tx.init(params), []
    for _ in range(STEPS):
        params, state, gradient = step(params, state, next(batches))
        kept = [*kept, gradient][-KEPT:]
    return kept
