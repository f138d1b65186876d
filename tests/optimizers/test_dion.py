"""Dion: orthonormal steps against the paper, and the factors that travel."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
SHAPE, RANK = (12, 8), 2
GRADIENTS = oracles.gradients(steps=4, shape=SHAPE)
PARAMS = jnp.ones(SHAPE)
START = np.random.default_rng(7).standard_normal((8, RANK)).astype(np.float32)


def make(**options):
    """Return Dion whose first Q is known."""
    tx = jd.optimizers.dion(AXIS, 0.1, **{"momentum": 0.8} | options)

    def init(params):
        def known(path, leaf):
            is_right = "right" in jax.tree_util.keystr(path) and leaf.ndim >= 2
            return leaf + START.reshape(leaf.shape) if is_right else leaf

        return jax.tree.map_with_path(known, tx.init(params))

    return optax.GradientTransformationExtraArgs(init, tx.update)


def follow_paper(gradients, momentum=0.8):
    """Return the updates of all steps, and the mean of all momenta."""
    momenta, right, updates = 0.0, START.astype(np.float64), []
    for rows in gradients.astype(np.float64):
        momenta = momenta + rows
        mean = momenta.mean(axis=0)
        left, _ = np.linalg.qr(mean @ right)
        right = mean.T @ left
        momenta = momenta - (1 - momentum) * left @ right.T
        right = right / np.linalg.norm(right, axis=0)
        updates.append(-0.1 * np.sqrt(8 / 12) * left @ right.T)
    return np.stack(updates), momenta


def momenta_of(state):
    return state.sent.uplink.inner_state.residual


def test_it_follows_the_paper():
    found, state = harness.train_in_common(make(), PARAMS, GRADIENTS)
    updates, momenta = follow_paper(GRADIENTS)
    np.testing.assert_allclose(found, updates, rtol=1e-3, atol=1e-5)
    own = momenta_of(state).reshape(momenta.shape)
    np.testing.assert_allclose(own, momenta, rtol=1e-3, atol=1e-4)


def test_steps_are_orthonormal_and_small_leaves_are_for_adam():
    """Eight columns of length 1 to 2, whatever the gradients are scaled by."""
    params = {"w": PARAMS, "embed": PARAMS, "b": jnp.ones(5), "one": jnp.ones((2, 1))}
    gradients = {
        name: 1e-12 * oracles.gradients(steps=3, shape=leaf.shape)
        for name, leaf in params.items()
    }
    tx = jd.optimizers.dion(AXIS, 0.1, eps=0.0, b2=0.9, elementwise=["emb*"])
    found, state = harness.train_in_common(tx, params, gradients)
    values = np.linalg.svd(found["w"][-1], compute_uv=False) / (0.1 * np.sqrt(8 / 12))
    assert 0.5 < values[1] <= values[0] < np.sqrt(2) + 1e-3
    np.testing.assert_allclose(values[RANK:], 0, atol=1e-5)
    assert isinstance(state.momentum["w"], optax.MaskedNode)
    for name in ("embed", "b", "one"):
        mean = gradients[name].astype(np.float64).mean(axis=1)
        first, second = np.zeros(params[name].shape), np.zeros(params[name].shape)
        for step, gradient in enumerate(mean, 1):
            first = 0.9 * first + 0.1 * gradient
            second = 0.9 * second + 0.1 * gradient**2
            root = np.sqrt(second / (1 - 0.9**step))
            moved = first / (1 - 0.9**step) / np.where(root > 0, root, 1)
            np.testing.assert_allclose(
                found[name][step - 1], -0.1 * moved, rtol=1e-3, atol=1e-6
            )


def test_who_is_absent_keeps_its_momentum():
    weight = np.ones((4, 3), np.float32)
    weight[1, 1], weight[2] = 0, 0
    spoilt = np.where(weight[..., None, None] > 0, GRADIENTS, np.nan)
    found, state = harness.train_in_common(make(), PARAMS, spoilt, weight=weight)
    np.testing.assert_array_equal(found[2], 0)
    assert np.isfinite(found).all() and np.isfinite(momenta_of(state)).all()
    first, _ = follow_paper(GRADIENTS[:1])
    np.testing.assert_allclose(found[0], first[0], rtol=1e-3, atol=1e-5)


def test_one_nan_is_seen_and_does_not_stay():
    spoilt = GRADIENTS.copy()
    spoilt[1, 1, 3, 5] = np.nan
    found, state = harness.train_in_common(make(), PARAMS, spoilt)
    assert not np.isfinite(found[1]).all() and np.isfinite(found[2:]).all()
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()


def test_only_factors_travel():
    params = {"w": jnp.zeros((64, 32)), "layers": jnp.zeros((3, 16, 8))}
    stacked = jd.compression.MatrixAxes(batch=0, columns=-1)
    for axes, elements in (
        (None, 8 * (64 + 32) + 2 * (48 + 8)),
        (stacked, 64 * 32 + 3 * 2 * (16 + 8)),  # 64 vectors, and three layers
    ):
        tx = jd.optimizers.dion(AXIS, 0.1, axes=axes)
        report = jd.communication_report(tx, params, 8)
        assert report.total_nbytes == 7 / 8 * 2 * 4 * elements


def test_a_sharded_matrix_is_refused():
    mesh = jax.make_mesh((2, 2), (AXIS, "model"))
    spec = jax.sharding.PartitionSpec(None, "model")
    params = jax.device_put(jnp.ones((16, 8)), jax.sharding.NamedSharding(mesh, spec))
    init, _ = jd.data_parallel(
        lambda p, b: jnp.sum(p * b), jd.optimizers.dion(AXIS, 0.1), mesh, AXIS
    )
    with pytest.raises(ValueError, match="sharded inside of a worker"):
        init(params)
