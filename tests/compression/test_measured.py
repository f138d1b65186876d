"""Metrics: against numbers computed by hand, on every backend's state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

LEAF = jnp.array([4.0, 2.0, 2.0, 1.0])


def metrics_after(compressor, leaves):
    state = compressor.init(leaves[0])
    for leaf in leaves:
        _, state = harness.roundtrip(compressor, leaf, 0, state)
    return jd.compression_metrics(state)


def test_without_memory_it_is_the_relative_error():
    metrics = metrics_after(jd.compression.measured(jd.compression.top_k(0.5)), [LEAF])
    assert float(metrics.contraction) == pytest.approx(20 / 25)
    assert float(metrics.residual_ratio) == pytest.approx(np.sqrt(5 / 25))
    assert float(metrics.nbytes) == 2 * 5
    assert int(metrics.overflow) == 0


def test_with_feedback_it_is_of_what_was_wanted():
    """Sends 4, 2; then of (4, 2, 4, 2) the two fours."""
    compressor = jd.compression.measured(
        jd.compression.error_feedback(jd.compression.top_k(0.5))
    )
    metrics = metrics_after(compressor, [LEAF, LEAF])
    assert float(metrics.contraction) == pytest.approx(32 / 40)
    assert float(metrics.residual_ratio) == pytest.approx(np.sqrt(8 / 25))
    assert float(metrics.nbytes) == 2 * 10


def test_increments_are_measured_by_what_the_estimate_misses():
    metrics = metrics_after(
        jd.compression.measured(jd.compression.ef21(jd.compression.top_k(0.5))),
        [LEAF, LEAF],
    )
    assert float(metrics.contraction) == pytest.approx(1.0)
    assert float(metrics.residual_ratio) == 0
    metrics = metrics_after(
        jd.compression.measured(jd.compression.ef21(jd.compression.top_k(0.25), 0.5)),
        [LEAF],
    )
    assert float(metrics.contraction) == pytest.approx(16 / 25)


def test_bytes_are_counted_beyond_32_bits():
    compressor = jd.compression.measured(jd.compression.identity())
    state = compressor.init(LEAF)._replace(
        nbytes=jnp.asarray([2**32 - 8, 1], jnp.uint32)
    )
    _, state = harness.roundtrip(compressor, LEAF, state=state)
    np.testing.assert_array_equal(state.nbytes, [8, 2])
    assert float(jd.compression_metrics(state).nbytes) == 2.0**33


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_a_whole_optimizer_is_read_over_leaves_workers_and_directions(backend):
    up = jd.compression.measured(
        jd.compression.error_feedback(jd.compression.top_k(0.5))
    )
    down = jd.compression.measured(
        jd.compression.error_feedback(jd.compression.scaled_sign())
    )
    tx = jd.aggregate(harness.AXIS, compressor=up, downlink=down)
    updates = jax.random.normal(jax.random.key(0), (2, 8, 48))
    _, state = harness.run_steps(tx, backend, jnp.zeros((8, 48)), updates)
    metrics = jd.compression_metrics(state)
    assert 0 < float(metrics.contraction) < 1
    each = jd.payload_nbytes(up, updates[0, 0], 8)
    back = jd.payload_nbytes(down, jnp.zeros(6))
    assert float(metrics.nbytes) == 2 * 8 * (each + back)


def test_a_dialogue_is_measured_too():
    tx = jd.aggregate(
        "data",
        compressor=jd.compression.measured(
            jd.compression.error_feedback(jd.compression.power_sgd(1))
        ),
    )
    matrices = jax.random.normal(jax.random.key(0), (4, 20, 10))

    def worker(matrix):
        return tx.update(matrix, tx.init(matrix))

    mean, state = jax.jit(jax.vmap(worker, axis_name="data"))(matrices)
    dropped = jnp.sum((matrices - mean) ** 2)
    metrics = jd.compression_metrics(state)
    expected = float(jnp.sqrt(dropped / jnp.sum(matrices**2)))
    assert float(metrics.residual_ratio) == pytest.approx(expected, rel=1e-4)
    assert float(metrics.nbytes) == 4 * 30 * 4


def test_nothing_given_is_nothing_lost():
    metrics = metrics_after(
        jd.compression.measured(jd.compression.top_k(0.5)), [jnp.zeros(4)]
    )
    assert (float(metrics.contraction), float(metrics.residual_ratio)) == (1, 0)


def test_a_state_without_measurements_says_what_to_wrap():
    with pytest.raises(ValueError, match="wrap the compressor"):
        jd.compression_metrics(jd.compress(jd.compression.top_k(0.1)).init(LEAF))
