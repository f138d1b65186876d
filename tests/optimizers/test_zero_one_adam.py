"""0/1 Adam: which steps are refreshes, and what each way makes of the moments."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import jaxdist as jd
from jaxdist.optimizers import _zero_one_adam
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
DENSE = jd.compression.identity()
GRADIENTS = oracles.gradients(steps=9)
PARAMS = jnp.ones(oracles.SHAPE)


def make(**options):
    options = {"num_refreshes": 2, "max_ratio": None, "b2": 0.9} | options
    return jd.optimizers.zero_one_adam(
        AXIS, 0.1, compressor=SIGN, refresh_compressor=DENSE, **options
    )


def refreshed_steps(num_refreshes, max_period, steps):
    refreshes = _zero_one_adam.doubling_periods(num_refreshes, max_period)
    due = jax.vmap(refreshes.is_due)(jnp.arange(steps, dtype=jnp.int32))
    return np.flatnonzero(due).tolist()


def test_periods_double_after_so_many_refreshes():
    assert refreshed_steps(2, None, 31) == [0, 1, 2, 4, 6, 10, 14, 22, 30]
    assert refreshed_steps(1, 3, 16) == [0, 1, 3, 6, 9, 12, 15]
    assert refreshed_steps(3, 1, 5) == [0, 1, 2, 3, 4]
    refreshes = _zero_one_adam.doubling_periods(16, None)
    assert refreshes.starts[-1] < 2**31 and refreshes.share(2**31 - 1) < 1e-7


def follow_paper(gradients, due, b1=0.9, b2=0.9, rate=0.1):
    """Return the updates of all steps."""
    send = oracles.MeanOf(oracles.signs)
    momentum, variance, refreshes = np.zeros(oracles.SHAPE), np.zeros(oracles.SHAPE), 0
    updates = []
    for step, rows in enumerate(gradients.astype(np.float64)):
        if step in due:
            mean = rows.mean(axis=0)
            momentum = b1 * momentum + (1 - b1) * mean
            variance = b2 * variance + (1 - b2) * mean**2
            refreshes += 1
        else:
            momentum = send(b1 * momentum + (1 - b1) * rows)
        root = np.sqrt(variance / (1 - b2**refreshes)) + 1e-8
        moved = momentum / (1 - b1 ** (step + 1)) / root
        updates.append(-rate * np.where(variance > 0, moved, 0))
    return np.stack(updates)


def test_it_follows_its_equations():
    updates, state = harness.train_in_common(make(), PARAMS, GRADIENTS)
    expected = follow_paper(GRADIENTS, [0, 1, 2, 4, 6])
    np.testing.assert_allclose(updates, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(state.refreshes, 5)


def test_no_step_is_larger_than_the_largest_ratio():
    free, _ = harness.train_in_common(make(), PARAMS, GRADIENTS)
    bound, _ = harness.train_in_common(make(max_ratio=0.5), PARAMS, GRADIENTS)
    assert np.abs(free).max() > 0.1 * 0.6
    assert np.abs(bound).max() <= 0.1 * 0.5 * (1 + 1e-6)
    same = np.abs(free) < 0.1 * 0.49
    np.testing.assert_array_equal(free[same], bound[same])


@pytest.mark.usefixtures("standard_promotion")
def test_refreshed_always_it_is_adam():
    adam = optax.chain(jd.aggregate(AXIS), optax.adam(0.1, b2=0.9))
    found, _ = harness.train_in_common(make(max_period=1), PARAMS, GRADIENTS)
    expected, _ = harness.train_in_common(adam, PARAMS, GRADIENTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_narrow_parameters_have_wide_moments():
    params = {"w": jnp.zeros((64, 32), jnp.bfloat16), "s": jnp.zeros((), jnp.bfloat16)}
    rng = np.random.default_rng(0)
    gradients = jax.tree.map(
        lambda x: jnp.asarray(rng.standard_normal((4, 3, *x.shape)), jnp.bfloat16),
        params,
    )
    tx = jd.optimizers.zero_one_adam(AXIS, 0.1, num_refreshes=2, weight_decay=0.1)
    updates, state = harness.train_in_common(tx, params, gradients)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.bfloat16.dtype}
    assert state.momentum["w"].dtype == state.variance["w"].dtype == jnp.float32
    assert all(np.isfinite(x.astype(np.float32)).all() for x in updates.values())


def test_the_report_counts_each_way_as_often_as_it_is_taken():
    params = {"w": jnp.zeros((64, 64))}
    tx = jd.optimizers.zero_one_adam(AXIS, 0.1, num_refreshes=4)
    reports = [jd.communication_report(tx, params, 8, step=step) for step in (0, 4, 12)]
    byte = 7 * 2 * (64 * 64 / 8 + 4 * 2)  # two scales for each part of 512
    bit = 7 * 2 * (64 * 64 / 8 / 8 + 4)
    for report, share in zip(reports, (1, 1 / 2, 1 / 4), strict=True):
        assert report.total_nbytes == share * byte + (1 - share) * bit
        assert report.dense_nbytes == 7 / 8 * 2 * 4 * 64 * 64


@pytest.mark.parametrize("make_recipe", ["simulate", "data_parallel"])
def test_training_goes_on_with_other_workers(make_recipe):
    def loss(params, batch):
        return jnp.mean((params["w"][None] - batch) ** 2)

    tx = jd.optimizers.zero_one_adam(AXIS, 0.1, num_refreshes=1)
    batch = jnp.asarray(
        np.random.default_rng(0).standard_normal((24, 32, 33)), jnp.float32
    )
    if make_recipe == "simulate":
        init, step = jd.simulate(loss, tx, 8, AXIS)
    else:
        init, step = jd.data_parallel(loss, tx, harness.make_mesh(), AXIS)
    state = init({"w": jnp.zeros((32, 33))})
    for _ in range(4):
        state, metrics = step(state, batch)
    first = float(metrics["loss"])
    init, step = jd.simulate(loss, tx, 6, AXIS)
    state = jd.resize_training(state, tx, 6, AXIS)
    for _ in range(20):
        state, metrics = step(state, batch)
    assert float(metrics["loss"]) < first


def accuracy_on_digits(tx, steps=120, size=16):
    """Return the accuracy of two layers after training eight workers."""
    images, labels = load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    keys = jax.random.split(jax.random.key(0), 3)
    params = [
        jax.random.normal(keys[0], (64, 64)) / 8,
        jax.random.normal(keys[1], (64, 32)) / 8,
    ]

    def logits_of(params, images):
        return jax.nn.relu(images @ params[0]) @ params[1]

    def loss(params, batch):
        logits = logits_of(params, batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    init, step = jd.simulate(loss, tx, 8, AXIS)

    @jax.jit
    def train(params, images, labels):
        def one_step(state, key):
            chosen = jax.random.randint(key, (8 * size,), 0, 1400)
            return step(state, (images[chosen], labels[chosen]))[0], None

        state, _ = jax.lax.scan(
            one_step, init(params), jax.random.split(keys[2], steps)
        )
        found = jnp.argmax(logits_of(state.params, images[1400:]), axis=-1)
        return jnp.mean(found == labels[1400:])

    return float(train(params, images, labels))


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_it_learns_as_adam_does_where_signs_before_adam_do_not():
    """Gradients of digits are zero at most borders: signs must not move those."""
    both = {"compressor": SIGN, "downlink": SIGN}
    dense = optax.chain(jd.aggregate(AXIS), optax.adam(5e-3))
    before = optax.chain(jd.aggregate(AXIS, **both), optax.adam(5e-3))
    ours = jd.optimizers.zero_one_adam(AXIS, 5e-3, num_refreshes=8, **both)
    of_adam, of_signs, found = map(accuracy_on_digits, (dense, before, ours))
    assert found > of_adam - 0.015
    assert of_signs < of_adam - 0.03
