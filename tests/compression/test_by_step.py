"""By step: one compiled program, one state, nothing lost between stages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

feedback = jd.compression.error_feedback
POLICY = jd.compression.by_step(
    {
        0: feedback(jd.compression.identity()),
        2: feedback(jd.compression.top_k(0.5)),
        4: feedback(jd.compression.top_k(0.1)),
    }
)


def test_dense_first_then_fewer_and_fewer_in_one_trace():
    tx = jd.compress(POLICY)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(updates, state):
        return tx.update(updates, state)

    gradients = jax.random.normal(jax.random.key(0), (6, 20))
    state, kept, total = tx.init(gradients[0]), [], 0
    for gradient in gradients:
        seen, state = step(gradient, state)
        kept.append(int(jnp.sum(seen != 0)))
        total = total + seen
    assert kept == [20, 20, 10, 10, 2, 2]
    residual = state.compressor_state.residual
    np.testing.assert_allclose(total + residual, gradients.sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("step", [0, 3, 5])
def test_the_report_is_of_one_step(step):
    params = jnp.zeros((30, 40))
    stages = [
        jd.compression.identity(),
        jd.compression.top_k(0.5),
        jd.compression.top_k(0.1),
    ]
    tx = jd.aggregate(harness.AXIS, compressor=POLICY, route="gather")
    alone = jd.aggregate(
        harness.AXIS, compressor=feedback(stages[step // 2]), route="gather"
    )
    report = jd.communication_report(tx, params, 8, step=step)
    expected = jd.communication_report(alone, params, 8)
    assert report.total_nbytes == expected.total_nbytes
    assert len(report.shipments) == 1


def test_ranks_may_follow_a_schedule():
    tx = jd.compress(
        jd.compression.by_step(
            {
                0: jd.compression.power_sgd(1, max_rank=3),
                1: jd.compression.power_sgd(2, max_rank=3),
            }
        )
    )
    matrix = jax.random.normal(jax.random.key(0), (20, 10))
    state = tx.init(matrix)
    for rank in (1, 2):
        seen, state = tx.update(matrix, state)
        assert np.linalg.matrix_rank(np.asarray(seen), tol=1e-4) == rank


def test_both_ways_may_change_at_different_steps():
    tx = jd.aggregate(
        harness.AXIS,
        compressor=jd.compression.by_step(
            {
                0: feedback(jd.compression.identity()),
                1: feedback(jd.compression.top_k(0.2)),
            }
        ),
        downlink=jd.compression.by_step(
            {
                0: feedback(jd.compression.identity()),
                2: feedback(jd.compression.top_k(0.3)),
            }
        ),
    )
    gradients = jax.random.normal(jax.random.key(0), (3, 8, 40))

    params = jnp.zeros((8, 40))
    results = {
        backend: harness.run_steps(tx, backend, params, gradients)
        for backend in ("vmap", "shard_map")
    }
    harness.assert_trees_close(*results.values())
    kept = np.sum(np.asarray(results["vmap"][0])[0] != 0, axis=1)
    assert kept[0] == 40 and kept[2] == 16  # ceil(0.3 * 5) in each of 8 parts


def test_it_goes_around_everything_else():
    with pytest.raises(TypeError, match="Put by_step around"):
        feedback(POLICY)
    with pytest.raises(TypeError, match="Put by_step around"):
        jd.compression.by_leaf(POLICY)


@pytest.mark.parametrize(
    ("compressors", "words"),
    [
        ({1: jd.compression.identity()}, "from step 0 on"),
        ({0: jd.compression.identity(), -1: 2}, ">= 0"),
    ],
)
def test_steps_are_checked(compressors, words):
    with pytest.raises(ValueError, match=words):
        jd.compression.by_step(compressors)
