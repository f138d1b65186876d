"""PowerSGD: its subspace iteration, its two rounds, and gradients without rank."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression import _power_sgd
from tests import harness

KEYS = jd.Keys(jax.random.key(0), jax.random.key(1))


def test_repeated_steps_approach_the_best_approximation():
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((30, 20)), "f4")
    values = np.linalg.svd(np.asarray(matrix), compute_uv=False)
    best = (values[2:] ** 2).sum()
    compressor = jd.compression.power_sgd(2)
    state = compressor.init(matrix)
    step = jax.jit(lambda state: harness.roundtrip(compressor, matrix, 0, state))
    errors = []
    for _ in range(60):
        seen, state = step(state)
        errors.append(float(jnp.sum((seen - matrix) ** 2)))
    assert (np.diff(errors) <= 1e-3).all()
    assert errors[-1] == pytest.approx(best, rel=1e-2)


def _reference(gradients, right, steps):
    """Algorithm 1 with feedback against the mean, in NumPy: ``[steps, n, m]``."""
    residuals = np.zeros_like(gradients[0])
    means = []
    for step in range(steps):
        wanted = gradients[step] + residuals
        left, _ = np.linalg.qr(np.mean(wanted @ right, axis=0))
        right = np.mean(np.swapaxes(wanted, 1, 2) @ left, axis=0)
        means.append(left @ right.T)
        residuals = wanted - means[-1]
    return np.stack(means)


@pytest.mark.parametrize("backend", ["vmap", "shard_map"])
def test_trajectory_of_the_paper(backend):
    """Of two leaves that are alike, and so go through the rounds together."""
    rng = np.random.default_rng(1)
    gradients = {name: rng.standard_normal((6, 8, 15, 10)) for name in "ab"}
    right = rng.standard_normal((10, 3))
    tx = jd.aggregate(
        "data", compressor=jd.compression.error_feedback(jd.compression.power_sgd(3))
    )

    def worker(sequence):
        state = tx.init(jax.tree.map(lambda leaf: leaf[0], sequence))
        start = jnp.asarray(right, jnp.float32)

        def starting(leaf):
            old = leaf.inner_state.right
            state = _power_sgd.PowerSgdState(start[None] + 0 * old)
            return leaf._replace(inner_state=state)

        uplink = {
            name: starting(leaf) for name, leaf in state.uplink.inner_state.items()
        }
        state = state._replace(uplink=jd.PerWorkerState(uplink))

        def step(state, gradient):
            update, state = tx.update(gradient, state)
            return state, update

        return jax.lax.scan(step, state, sequence)[1]

    stacked = {
        name: jnp.asarray(np.swapaxes(leaf, 0, 1), jnp.float32)
        for name, leaf in gradients.items()
    }
    seen = harness.run(worker, backend, stacked)
    for name, leaf in gradients.items():
        expected = _reference(leaf, right, 6)
        for one in seen[name]:
            np.testing.assert_allclose(one, expected, atol=1e-5)


def test_leaves_that_are_alike_share_their_products():
    tx = jd.aggregate(
        "data", compressor=jd.compression.error_feedback(jd.compression.power_sgd(1))
    )

    def products(*shapes):
        leaves = [jnp.zeros((8, *shape)) for shape in shapes]
        mapped = jax.vmap(lambda x: tx.update(x, tx.init(x))[0], axis_name="data")
        return jax.jit(mapped).lower(leaves).as_text().count("stablehlo.dot_general")

    assert products((10, 9), (10, 9), (10, 9)) == products((10, 9))
    assert products((10, 9), (10, 8)) == 2 * products((10, 9))


def test_mean_does_not_depend_on_the_number_of_equal_workers():
    matrix = jax.random.normal(jax.random.key(2), (12, 9))
    alone, _ = harness.roundtrip(jd.compression.power_sgd(2), matrix, 0)
    tx = jd.aggregate("data", compressor=jd.compression.power_sgd(2))

    def worker(matrix):
        update, state = tx.update(matrix, tx.init(matrix))
        return update, state.uplink

    for num_workers in (1, 4):
        stacked = jnp.stack([matrix] * num_workers)
        update, _ = jax.jit(jax.vmap(worker, axis_name="data"))(stacked)
        error = jnp.sum((update[0] - matrix) ** 2)
        assert update[0].shape == alone.shape
        # The subspaces differ by the drawn start only; both are rank 2 projections.
        assert np.linalg.matrix_rank(np.asarray(update[0]), tol=1e-4) == 2
        assert float(error) <= float(jnp.sum(matrix**2))


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((9, 8)),
        np.outer(np.arange(9), np.ones(8)),
        1e30 * np.ones((9, 8)),
        1e-30 * np.ones((9, 8)),
    ],
    ids=["zero", "rank one", "huge", "tiny"],
)
def test_gradients_of_too_low_a_rank_stay_finite_and_exact(matrix):
    compressor = jd.compression.error_feedback(jd.compression.power_sgd(3))
    matrix = jnp.asarray(matrix, jnp.float32)
    state = compressor.init(matrix)
    for step in range(4):
        seen, state = harness.roundtrip(compressor, matrix, step, state)
        np.testing.assert_allclose(seen, matrix, rtol=1e-4, atol=1e-36)


def test_after_a_nan_the_next_step_is_finite():
    compressor = jd.compression.error_feedback(jd.compression.power_sgd(2))
    matrix = jax.random.normal(jax.random.key(2), (12, 9))
    state = compressor.init(matrix)
    seen, state = harness.roundtrip(compressor, matrix.at[0, 0].set(jnp.nan), 0, state)
    assert not np.isfinite(seen).all()
    seen, state = harness.roundtrip(compressor, matrix, 1, state)
    assert np.isfinite(seen).all() and np.isfinite(state.residual).all()


@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (0, 4)])
def test_leaves_that_would_not_shrink_travel_as_they_are(shape):
    leaf = jax.random.normal(jax.random.key(0), shape)
    seen, _ = harness.roundtrip(jd.compression.power_sgd(2), leaf, 0)
    np.testing.assert_array_equal(seen, leaf)
    assert jd.payload_nbytes(jd.compression.power_sgd(2), leaf) == 4 * leaf.size


def test_a_convolution_is_a_matrix_of_its_last_axis():
    leaf = jax.random.normal(jax.random.key(0), (3, 3, 8, 16))
    assert jd.payload_nbytes(jd.compression.power_sgd(2), leaf) == 2 * (72 + 16) * 4
    assert (
        harness.roundtrip(jd.compression.power_sgd(2), leaf, 0)[0].shape == leaf.shape
    )


def test_robust_rules_take_factors_of_each_worker():
    rows = jnp.outer(jnp.arange(1.0, 10.0), jnp.ones(8))
    stacked = jnp.stack([rows] * 7 + [-100 * rows])
    tx = jd.aggregate("data", jd.rules.krum(1), jd.compression.power_sgd(1))
    update = jax.jit(jax.vmap(lambda g: tx.update(g, tx.init(g))[0], axis_name="data"))(
        stacked
    )
    np.testing.assert_allclose(update[0], rows, rtol=1e-4)


def test_one_state_serves_several_ranks():
    matrix = jax.random.normal(jax.random.key(2), (12, 9))
    low, high = jd.compression.power_sgd(1, max_rank=3), jd.compression.power_sgd(3)
    chex.assert_trees_all_equal_structs(low.init(matrix), high.init(matrix))
    _, state = harness.roundtrip(low, matrix, 0)
    assert state.right.shape == (9, 3)
    seen, _ = harness.roundtrip(high, matrix, 1, state)
    assert np.linalg.matrix_rank(np.asarray(seen), tol=1e-4) == 3


def test_all_leaves_share_two_messages():
    """Also those that are too small to be compressed."""
    tx = jd.aggregate(
        "data",
        compressor=jd.compression.by_leaf(
            jd.compression.error_feedback(jd.compression.power_sgd(1))
        ),
    )
    leaves = {str(i): jnp.zeros((8, 100, 90)) for i in range(3)}
    leaves["bias"] = jnp.zeros((8, 90))

    def worker(updates):
        updates = jax.tree.map(lambda leaf: leaf[0], updates)
        update, state = tx.update(updates, tx.init(updates))
        return jax.tree.map(lambda x: x[None], (update, state.uplink.inner_state))

    spec = jax.sharding.PartitionSpec(harness.AXIS)
    mapped = jax.shard_map(
        worker, mesh=harness.make_mesh(), in_specs=spec, out_specs=spec
    )
    text = jax.jit(mapped).lower(leaves).compile().as_text()
    assert [name for name, _ in harness.collectives(text)] == ["all-reduce"] * 2


@pytest.mark.parametrize(("rank", "max_rank"), [(0, None), (2, 1)])
def test_ranks_have_a_range(rank, max_rank):
    with pytest.raises(ValueError, match="rank` must be"):
        jd.compression.power_sgd(rank, max_rank=max_rank)


STACKED = jd.compression.MatrixAxes(batch=0)


def test_layers_that_are_scanned_are_matrices_of_their_own():
    """They come back as they would alone, and one that is NaN spoils no other."""
    rng = np.random.default_rng(0)
    rows, columns = rng.standard_normal((2, 8, 2, 32))
    layers = jnp.asarray(np.einsum("bri,brj->bij", rows, columns), jnp.float32)
    compressor = jd.compression.power_sgd(2, axes=STACKED)
    assert jd.payload_nbytes(compressor, layers) == 8 * 2 * (32 + 32) * 4
    assert compressor.init(layers).right.shape == (8, 32, 2)
    step = jax.jit(lambda x: harness.roundtrip(compressor, x, 0))
    seen, state = step(layers)
    np.testing.assert_allclose(seen, layers, atol=1e-4)
    seen, state = step(layers.at[3, 5, 5].set(jnp.nan))
    assert not np.isfinite(seen[3]).any()
    np.testing.assert_allclose(seen[4:], layers[4:], atol=1e-4)
    assert np.isfinite(state.right).all() and not np.any(state.right[3])


def test_all_workers_find_the_means_of_all_layers():
    layers = jax.random.normal(jax.random.key(0), (4, 3, 9, 8))
    means = {}
    for route in ("psum", "gather"):
        policy = jd.compression.by_leaf(
            jd.compression.identity(),
            {"layers/*": jd.compression.power_sgd(8, axes=STACKED)},
            min_size=0,
        )
        tx = jd.aggregate("data", compressor=policy, route=route)

        def step(leaf, tx=tx):
            updates = {"layers": {"kernel": leaf}}
            return tx.update(updates, tx.init(updates))[0]

        means[route] = jax.jit(jax.vmap(step, axis_name="data"))(layers)
    for mean in means.values():
        kernel = mean["layers"]["kernel"][0]
        np.testing.assert_allclose(kernel, layers.mean(axis=0), atol=1e-4)
