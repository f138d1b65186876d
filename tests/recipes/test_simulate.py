"""Many workers on one device."""

import jax
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem


def test_sixty_four_workers_of_whom_a_third_attack():
    """Robust training reaches a loss that the attacked mean never sees."""
    inputs = np.random.default_rng(1).standard_normal((2048, 10)).astype(np.float32)
    batch = inputs, np.sin(inputs[:, :1])

    def final_loss(rule):
        tx = optax.chain(
            jd.inject_attack("worker", jd.attacks.sign_flip(5.0), 20),
            jd.aggregate("worker", rule),
            optax.sgd(0.2),
        )
        init, step = jd.simulate(problem.loss, tx, 64, "worker")
        state = init(problem.PARAMS)
        for _ in range(50):
            state, _ = step(state, batch)
        return float(problem.loss(state.params, batch))

    start = float(problem.loss(problem.PARAMS, batch))
    assert final_loss(jd.rules.trimmed_mean(20)) < 0.6 * start
    assert not final_loss(jd.rules.mean()) < start


def test_state_has_the_shapes_of_the_mesh():
    tx = optax.chain(
        jd.aggregate(
            harness.AXIS,
            compressor=jd.compression.error_feedback(jd.compression.top_k(0.1)),
            downlink=jd.compression.error_feedback(jd.compression.top_k(0.1)),
        ),
        optax.sgd(0.1),
    )
    on_mesh, _ = jd.data_parallel(problem.loss, tx, harness.make_mesh(), harness.AXIS)
    simulated, _ = jd.simulate(problem.loss, tx, 8, harness.AXIS)
    harness.assert_trees_equal(
        jax.tree.map(np.asarray, simulated(problem.PARAMS).params),
        jax.tree.map(np.asarray, on_mesh(problem.PARAMS).params),
    )
    harness.assert_trees_equal(
        simulated(problem.PARAMS).opt_state, on_mesh(problem.PARAMS).opt_state
    )


def test_parameters_of_the_user_survive_donation():
    tx = optax.chain(jd.aggregate("w"), optax.sgd(0.1))
    init, step = jd.simulate(problem.loss, tx, 4, "w")
    state, _ = step(init(problem.PARAMS), problem.BATCH)
    step(state, problem.BATCH)
    assert np.isfinite(problem.PARAMS["w"]).all()


def test_arguments_are_checked():
    tx = optax.chain(jd.aggregate("w"), optax.sgd(0.1))
    with pytest.raises(
        ValueError, match="`num_workers` must be an integer >= 1, got 0"
    ):
        jd.simulate(problem.loss, tx, 0, "w")
    init, step = jd.simulate(problem.loss, tx, 5, "w")
    with pytest.raises(ValueError, match=r"5 workers divide.*shape \(64, 10\)"):
        step(init(problem.PARAMS), problem.BATCH)
