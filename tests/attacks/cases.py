"""Updates to attack, and what they look like to the attackers."""

import jax
import jax.numpy as jnp
import numpy as np

NUM_WORKERS, NUM_BYZANTINE = 9, 2
NUM_HONEST = NUM_WORKERS - NUM_BYZANTINE


def updates(seed=0, mean=0.3, scale=1.0):
    """Return a tree ``[W, ...]`` of several leaves, one of them without elements."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        noise = rng.standard_normal((NUM_WORKERS, *shape))
        return jnp.asarray(mean + scale * noise, jnp.float32)

    return {"b": draw(3, 5), "empty": draw(0), "m": draw(), "w": draw(4)}


def flat(tree):
    """Return the rows ``[W, n]`` in float64."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def attacked(attack, tree=None, num_byzantine=NUM_BYZANTINE, seed=0):
    """Return the honest rows and the attackers' rows; honest ones must stay."""
    tree = updates() if tree is None else tree
    compiled = jax.jit(attack, static_argnums=1)
    sent = compiled(tree, num_byzantine, jax.random.key(seed))
    before, after = flat(tree), flat(sent)
    honest = before[: len(before) - num_byzantine]
    np.testing.assert_array_equal(after[: len(honest)], honest)
    return honest, after[len(honest) :]


def assert_all_send(bad, row, **tolerance):
    """Check that all attackers send the row."""
    np.testing.assert_array_equal(bad, np.broadcast_to(bad[:1], bad.shape))
    np.testing.assert_allclose(
        bad[0], row, **({"rtol": 1e-5, "atol": 1e-6} | tolerance)
    )


def direction(honest, name):
    """Return the direction of this name, as the paper has it."""
    mean = honest.mean(axis=0)
    return {
        "mean": -mean / np.linalg.norm(mean),
        "sign": -np.sign(mean),
        "deviation": -honest.std(axis=0),
    }[name]
