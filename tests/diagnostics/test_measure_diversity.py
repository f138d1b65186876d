"""Measured diversity against NumPy, against theory, and in the compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

AXIS = harness.AXIS
ROWS = np.random.default_rng(0).standard_normal((8, 33)).astype(np.float32) + 0.4


def metrics_after(rows, tx, backend="vmap", **extra):
    """Return the metrics after one step, of the first worker."""

    def worker(row, extra):
        params = jnp.zeros_like(row)
        state = tx.update(row, tx.init(params), params, **extra)[1]
        seen = jd.diversity_metrics(state)
        return seen, seen.gain, seen.diversity, seen.noise_scale

    found = harness.run(worker, backend, jnp.asarray(rows), extra)
    return jax.tree.map(lambda x: np.asarray(x)[0], found)


def oracle(rows, weight=None):
    """Return spread, signal and diversity in float64."""
    weight = np.ones(len(rows)) if weight is None else weight
    rows, weight = rows[weight > 0].astype(np.float64), weight[weight > 0]
    number, mean = len(rows), np.average(rows, axis=0, weights=weight)
    square = np.average((rows**2).sum(1), weights=weight)
    spread = (square - (mean**2).sum()) * number / (number - 1)
    return spread, (mean**2).sum() - spread / number, square / number / (mean**2).sum()


MEASURED = jd.measure_diversity(AXIS, jd.aggregate(AXIS))


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_metrics_equal_numpy(backend):
    seen, gain, diversity, noise_scale = metrics_after(ROWS, MEASURED, backend)
    spread, signal, wanted = oracle(ROWS)
    np.testing.assert_allclose((seen.spread, seen.signal), (spread, signal), rtol=1e-5)
    np.testing.assert_allclose(diversity, wanted, rtol=1e-6)
    np.testing.assert_allclose(gain, 8 * wanted, rtol=1e-6)
    np.testing.assert_allclose(noise_scale, spread / signal, rtol=1e-5)


def test_weights_weigh_as_numbers_of_examples():
    weight = np.float32([1, 0, 2, 3, 1, 1, 0, 4])
    rows = ROWS.copy()
    rows[1] = np.nan
    seen, *_ = metrics_after(rows, MEASURED, weight=jnp.asarray(weight))
    spread, signal, _ = oracle(ROWS, weight)
    np.testing.assert_allclose((seen.spread, seen.signal), (spread, signal), rtol=1e-4)
    assert seen.num_workers == 6


def test_spread_of_unequal_workers_is_without_bias():
    """A worker of weight w averages w examples; the spread is that of mean weight."""
    weight = np.float32([1, 1, 2, 2, 3, 3, 4, 0])
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((3000, 8, 20)) / np.sqrt(np.maximum(weight, 1))[:, None]
    found = np.mean([oracle(rows + 0.5, weight)[:2] for rows in draws], axis=0)
    np.testing.assert_allclose(found, (20 / (16 / 7), 20 * 0.25), rtol=0.02)


def test_what_follows_an_aggregation_changes_nothing():
    plain, *_ = metrics_after(ROWS, MEASURED)
    for inner in (
        optax.chain(jd.aggregate(AXIS), optax.sgd(0.3, momentum=0.9)),
        jd.shard_optimizer(AXIS, optax.sgd(0.3)),
        jd.skip_nonfinite(AXIS, jd.aggregate(AXIS)),
        jd.aggregate(AXIS, jd.rules.trimmed_mean(2), scope="leaf"),
    ):
        seen, *_ = metrics_after(ROWS, jd.measure_diversity(AXIS, inner))
        harness.assert_trees_close(
            jax.tree.map(jnp.asarray, seen), jax.tree.map(jnp.asarray, plain)
        )


def test_a_compressors_noise_is_part_of_the_spread():
    """One coordinate of two in each of equal runs: the variance is exact."""
    rows = ROWS[:, :32]
    inner = jd.aggregate(AXIS, compressor=jd.compression.random_k(0.5, shared=False))
    tx = jd.measure_diversity(AXIS, inner, decay=0.999)
    updates = jnp.broadcast_to(jnp.asarray(rows), (2000, 8, 32))
    _, state = harness.run_steps(tx, "vmap", jnp.zeros((8, 32)), updates)
    state = jax.tree.map(lambda x: x[0], state)
    squares, of_sum = (rows**2).sum(), (rows.sum(0) ** 2).sum()
    wanted = jd.diagnostics.expected_diversity(squares, of_sum, 1.0)
    found = jd.diversity_metrics(state).diversity
    np.testing.assert_allclose(found, wanted, rtol=0.01)


def test_identical_workers_gain_nothing():
    seen, gain, diversity, noise = metrics_after(np.ones((8, 4), np.float32), MEASURED)
    assert (seen.spread, gain, diversity, noise) == (0, 1, 1 / 8, 0)


def test_orthogonal_workers_gain_everything():
    seen, gain, _, noise = metrics_after(np.eye(8, dtype=np.float32), MEASURED)
    assert (seen.signal, gain, noise) == (0, 8, np.inf)


def test_ratio_of_means_is_within_a_hundredth():
    """Gaussian workers of known moments, 4000 steps: gain and noise scale."""
    size, deviation = 100, 2.0
    tx = jd.measure_diversity(AXIS, jd.aggregate(AXIS), decay=0.9999)

    def worker(key):
        def step(state, key):
            noise = deviation * jax.random.normal(key, (size,))
            return tx.update(1 + noise, state)[1], None

        start = tx.init(jnp.zeros(size))
        return jax.lax.scan(step, start, jax.random.split(key, 4000))[0]

    state = jax.vmap(worker, out_axes=None, axis_name=AXIS)(
        jax.random.split(jax.random.key(0), 8)
    )
    seen = jd.diversity_metrics(state)
    np.testing.assert_allclose(seen.noise_scale, deviation**2, rtol=0.01)
    np.testing.assert_allclose(seen.gain, 5 / (4 / 8 + 1), rtol=0.01)
    np.testing.assert_allclose(seen.spread, size * deviation**2, rtol=0.01)


def test_a_step_that_is_not_finite_leaves_the_means_alone():
    bad = ROWS.copy()
    bad[3, 2] = np.nan
    updates = jnp.stack([ROWS, bad, bad])
    once = harness.run_steps(MEASURED, "vmap", jnp.zeros((8, 33)), updates[:1])[1]
    more = harness.run_steps(MEASURED, "vmap", jnp.zeros((8, 33)), updates)[1]
    harness.assert_trees_equal(more.moments, once.moments)


@pytest.mark.parametrize("backend", ["pmap", "shard_map", "shard_map_no_vma"])
def test_no_message_more_and_four_bytes(backend):
    """The scalar joins the all-reduce of the gradient."""

    def compiled(tx):
        program = harness.compiled(lambda g: tx.update(g, tx.init(g), g), backend)
        return harness.collectives(program.lower(gradient).compile().as_text())

    gradient = {"w": jnp.ones((8, 40_000)), "b": jnp.ones((8, 5))}
    ((name, nbytes),) = compiled(jd.aggregate(AXIS))
    assert compiled(MEASURED) == [(name, nbytes + 4)]


def test_recipes_measure_the_same():
    batch = (jnp.asarray(ROWS), jnp.arange(8.0))

    def loss(params, batch):
        return jnp.mean((batch[0] @ params - batch[1]) ** 2)

    tx = optax.chain(MEASURED, optax.sgd(0.01))
    seen = []
    for recipe in (
        jd.data_parallel(loss, tx, harness.make_mesh(), AXIS),
        jd.simulate(loss, tx, 8, AXIS),
    ):
        init, step = recipe
        state = step(init(jnp.zeros(33)), batch)[0]
        seen.append(jax.tree.map(jnp.asarray, jd.diversity_metrics(state.opt_state)))
    harness.assert_trees_close(*jax.device_get(seen))
    assert seen[0].gain > 1


def test_one_worker_is_refused():
    def alone(row):
        return MEASURED.update(row, MEASURED.init(row))[0]

    with pytest.raises(ValueError, match="at least 2 workers.*'data' has 1"):
        jax.vmap(alone, axis_name=AXIS)(jnp.ones((1, 3)))


@pytest.mark.parametrize(
    "inner",
    [
        optax.sgd(0.1),
        optax.chain(jd.aggregate(AXIS), jd.aggregate("pod")),
    ],
    ids=["nothing", "two levels"],
)
def test_an_inner_that_aggregates_over_something_else_is_refused(inner):
    tx = jd.measure_diversity(AXIS, inner)

    def worker(row):
        return tx.update(row, tx.init(row))[0]

    mapped = jax.vmap(jax.vmap(worker, axis_name=AXIS), axis_name="pod")
    with pytest.raises(ValueError, match="`inner` of measure_diversity must hold"):
        mapped(jnp.ones((2, 2, 3)))
