"""Micro-batches, keys and model states of the loss, and what it must return."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

TX = optax.chain(
    jd.aggregate(
        harness.AXIS,
        compressor=jd.compression.error_feedback(jd.compression.top_k(0.2)),
    ),
    optax.sgd(0.1, momentum=0.9),
)


def _recipes(loss, tx=TX, **options):
    """Return both recipes of four workers."""
    mesh = jax.make_mesh((4,), (harness.AXIS,), devices=jax.devices()[:4])
    yield jd.data_parallel(loss, tx, mesh, harness.AXIS, **options)
    yield jd.simulate(loss, tx, 4, harness.AXIS, **options)


def _train(recipe, num_steps=3, model_state=()):
    init, step = recipe
    state = init(problem.PARAMS, model_state)
    for _ in range(num_steps):
        state, metrics = step(state, problem.BATCH)
    return state, metrics


def test_micro_batches_are_one_batch():
    whole = _train(next(_recipes(problem.loss_with_metrics, has_aux=True)))
    for recipe in _recipes(problem.loss_with_metrics, has_aux=True, micro_batches=4):
        state, metrics = _train(recipe)
        harness.assert_trees_close((state, metrics), whole, rtol=1e-5, atol=1e-6)


def test_micro_batches_add_up_in_float32():
    def loss(params, batch):
        return jnp.sum(params * batch.astype(params.dtype))

    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(1.0))
    init, step = jd.simulate(loss, tx, 1, harness.AXIS, micro_batches=256)
    # In bfloat16 a sum of ones ends at 256, and the next one is lost.
    batch = jnp.ones(512).at[0].set(256)
    state, _ = step(init(jnp.zeros((), jnp.bfloat16)), batch)
    assert state.params == -jnp.bfloat16(np.float32(256 + 511) / 256)


def test_micro_batches_must_divide():
    init, step = jd.simulate(problem.loss, TX, 4, harness.AXIS, micro_batches=3)
    with pytest.raises(ValueError, match=r"`micro_batches` must divide.*\(16, 10\)"):
        step(init(problem.PARAMS), problem.BATCH)
    with pytest.raises(ValueError, match="`micro_batches` must be an integer >= 1"):
        jd.simulate(problem.loss, TX, 4, harness.AXIS, micro_batches=0)
    with pytest.raises(ValueError, match="`unroll` must be False where there is no"):
        jd.simulate(problem.loss, TX, 4, harness.AXIS, unroll=True)


def test_each_worker_step_and_micro_batch_draws_its_own():
    drawn = []

    def loss(params, batch, *, key):
        drawn = jax.random.uniform(key)
        return problem.loss(params, batch), {"drawn": drawn, "square": drawn**2}

    tx = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(0.1))
    for recipe in _recipes(loss, tx, has_aux=True, key=7, micro_batches=2):
        init, step = recipe
        state = init(problem.PARAMS)
        series = []
        for _ in range(3):
            state, metrics = step(state, problem.BATCH)
            variance = metrics["square"] - metrics["drawn"] ** 2
            assert variance > 1e-3  # eight draws differ
            series.append(float(metrics["drawn"]))
        assert len(set(series)) == 3
        drawn.append(series)
    np.testing.assert_allclose(*drawn, rtol=1e-6)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_any_implementation_travel_as_words(impl):
    def loss(params, batch, *, key):
        assert str(jax.random.key_impl(key)) == impl
        return problem.loss(params, batch)

    key = jax.random.key(3, impl=impl)
    init, step = jd.simulate(loss, TX, 4, harness.AXIS, key=key)
    state = init(problem.PARAMS)
    np.testing.assert_array_equal(state.key, jax.random.key_data(key))
    after, _ = step(state, problem.BATCH)
    assert after.key.dtype == jnp.uint32
    assert not np.array_equal(after.key, jax.random.key_data(key))


def test_losses_of_stock_loops_train_on_a_mesh():
    def loss(params, batch):
        def add(i, total):
            return total + jax.lax.cond(
                i > 0, lambda: problem.loss(params, batch), lambda: jnp.zeros(())
            )

        return jax.lax.fori_loop(0, 3, add, jnp.zeros(()))

    results = [_train(recipe)[0].params for recipe in _recipes(loss)]
    harness.assert_trees_close(*results)


@pytest.mark.parametrize(
    ("options", "out", "message"),
    [
        (dict(has_aux=True), lambda x: x, r"must return \(loss, metrics\).*got a"),
        (dict(has_state=True), lambda x: x, r"must return \(loss, model_state\)"),
        (
            dict(has_aux=True, has_state=True),
            lambda x: (x, {}),
            r"\(loss, metrics, model_state\).*got a tuple of 2",
        ),
        (dict(has_aux=True), lambda x: (x, x), "metrics as a dict"),
    ],
)
def test_results_that_do_not_fit(options, out, message):
    def loss(params, *rest):
        return out(problem.loss(params, rest[-1]))

    init, step = jd.simulate(loss, TX, 4, harness.AXIS, **options)
    with pytest.raises(ValueError, match=message):
        step(init(problem.PARAMS), problem.BATCH)


def test_a_loss_is_a_function():
    with pytest.raises(TypeError, match="`loss_fn` must be a function .*, got None"):
        jd.simulate(None, TX, 4, harness.AXIS)
