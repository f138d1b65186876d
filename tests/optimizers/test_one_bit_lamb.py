"""1-bit LAMB against the paper: LAMB for a while, then signs with frozen lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxdist as jd
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
GRADIENTS = oracles.gradients()
PARAMS = jnp.ones(oracles.SHAPE)


def make(warm_up=3, **options):
    options = {"b2": 0.9, "max_ratio": None, "compressor": SIGN, **options}
    return jd.optimizers.one_bit_lamb(AXIS, 0.1, warm_up, **options)


def follow_paper(gradients, warm_up, decay=0.0, b1=0.9, b2=0.9, rate=0.1, change=0.1):
    """Return the updates of all steps, and the factors of all after the warm-up."""
    send = oracles.MeanOf(oracles.signs)
    weights = np.ones(oracles.SHAPE)
    momentum, variance, fresh = np.zeros((3, *oracles.SHAPE))
    average, factor, updates, factors = None, 1.0, [], []
    for step, rows in enumerate(gradients.astype(np.float64)):
        before, is_warm = momentum, step < warm_up
        if is_warm:
            momentum = b1 * momentum + (1 - b1) * rows.mean(axis=0)
            variance = b2 * variance + (1 - b2) * rows.mean(axis=0) ** 2
            fresh = variance
        else:
            momentum = send(b1 * momentum + (1 - b1) * rows)
            fresh = b2 * fresh + (1 - b2) * ((momentum - b1 * before) / (1 - b1)) ** 2
        root = np.sqrt(variance / (1 - b2 ** min(step + 1, warm_up))) + 1e-6
        plain = momentum / (1 - b1 ** (step + 1)) / root
        plain = np.where(variance > 0, plain, 0)
        whole = plain + decay * weights
        if is_warm:
            length = np.linalg.norm(weights) / np.linalg.norm(whole)
            length = np.clip(length, 0.01, 10.0)
            average = length if step == 0 else 0.9 * average + 0.1 * length
        else:
            new = np.sqrt(fresh / (1 - b2 ** (step + 1))) + 1e-6
            share = min(1, np.linalg.norm(plain) / np.linalg.norm(whole))
            wanted = (root / new)[variance > 0].max() * share + 1 - share
            wanted = np.clip(wanted, 0.5, 4.0)
            factor = np.clip(wanted, factor * (1 - change), factor * (1 + change))
            factors.append(factor)
            length = average * factor
        updates.append(-rate * length * whole)
        weights = weights + updates[-1]
    return np.stack(updates), factors


@pytest.mark.parametrize("decay, change", [(0.0, 0.1), (0.3, 0.9)])
def test_it_follows_the_paper(decay, change):
    tx = make(weight_decay=decay, max_change=change)
    updates, state = harness.train_in_common(tx, PARAMS, GRADIENTS)
    expected, factors = follow_paper(GRADIENTS, 3, decay, change=change)
    np.testing.assert_allclose(updates, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.factors, factors[-1], rtol=1e-4)
    np.testing.assert_array_equal(state.refreshes, 3)
    np.testing.assert_array_equal(state.renewals, 6)


@pytest.mark.usefixtures("standard_promotion")
def test_in_the_warm_up_it_is_lamb():
    mask = {"w": True, "b": False, "zero": False}
    params = {"w": PARAMS, "b": jnp.ones(3), "zero": jnp.zeros(4)}
    gradients = {
        "w": GRADIENTS,
        "b": oracles.gradients(1, shape=(3, 1))[..., 0],
        "zero": oracles.gradients(2, shape=(4, 2))[..., 1],
    }
    schedule = optax.linear_schedule(0.1, 0.0, 10)
    options = {"weight_decay": 0.1, "mask": mask, "b2": 0.99}
    tx = jd.optimizers.one_bit_lamb(AXIS, schedule, 10, **options)
    found, _ = harness.train_in_common(tx, params, gradients)
    lamb = optax.chain(jd.aggregate(AXIS), optax.lamb(schedule, **options))
    expected, _ = harness.train_in_common(lamb, params, gradients)
    harness.assert_trees_close(found, expected, rtol=1e-6, atol=1e-6)


def test_lengths_stay_within_their_limits():
    tx = make(6, min_coefficient=0.7, max_coefficient=0.8)
    free, bound = (
        harness.train_in_common(tx, PARAMS, GRADIENTS)[1] for tx in (make(6), tx)
    )
    assert np.all(free.coefficients > 0.81)
    np.testing.assert_allclose(bound.coefficients, 0.8, rtol=1e-6)
    tx = make(2, min_factor=0.95, max_factor=1.05, max_change=0.5)
    # Gradients that grow ask for smaller steps, as those that shrink for larger ones.
    for scale, limit in ((10.0, 0.95), (1e-3, 1.05)):
        changed = np.concatenate([GRADIENTS[:2], scale * GRADIENTS[2:]])
        tx = make(2, min_factor=0.95, max_factor=1.05, max_change=0.5, b1=0.0)
        _, state = harness.train_in_common(tx, PARAMS, changed)
        np.testing.assert_allclose(state.factors, limit, rtol=1e-6)


def test_a_layer_of_zeros_has_a_coefficient_that_no_average_keeps():
    zeros = jnp.zeros(oracles.SHAPE)
    _, first = harness.train_in_common(make(), zeros, GRADIENTS[:1])
    np.testing.assert_array_equal(first.coefficients, 0)
    _, second = harness.train_in_common(make(), zeros, GRADIENTS[:2])
    assert np.all(second.coefficients > 0)


def test_a_weight_without_a_gradient_never_moves():
    updates, _ = harness.train_in_common(make(), PARAMS, GRADIENTS)
    np.testing.assert_array_equal(updates[:, 0, 0], 0)
    assert np.abs(updates[:, 0, 1:]).min() > 0


def test_absent_workers_do_not_count():
    weight = np.ones((6, 3), np.float32)
    weight[1], weight[3, 1], weight[4] = 0, 0, 0
    tx = make(3, weight_decay=0.1)
    updates, state = harness.train_in_common(tx, PARAMS, GRADIENTS, weight=weight)
    np.testing.assert_array_equal(updates[[1, 4]], 0)
    np.testing.assert_array_equal(state.refreshes, 2)  # of three steps one had nobody
    np.testing.assert_array_equal(state.renewals, 4)
    spoilt = GRADIENTS.copy()
    spoilt[1], spoilt[3, 1], spoilt[4] = np.nan, np.nan, np.nan
    same, _ = harness.train_in_common(tx, PARAMS, spoilt, weight=weight)
    np.testing.assert_array_equal(updates, same)


@pytest.mark.parametrize("step", [1, 4])
def test_one_nan_does_not_come_in_past_a_rule_and_no_state_keeps_it(step):
    spoilt = GRADIENTS.copy()
    spoilt[step, 1, 1, 2] = np.nan
    guarded, _ = harness.train_in_common(make(rule=jd.rules.median()), PARAMS, spoilt)
    assert np.isfinite(guarded).all()
    # The parameters stay as they are, as behind skip_nonfinite.
    for length in (step + 1, step + 2):
        updates, state = take_steps(make(), spoilt[:length])
        assert np.isfinite(updates[-1]).all() == (length > step + 1)
        for leaf in jax.tree.leaves(state):
            assert np.isfinite(leaf).all()


def take_steps(tx, gradients):
    """Return the updates at parameters that stay, and the last state."""

    def worker(gradients):
        def step(state, gradient):
            updates, state = tx.update(gradient, state, PARAMS)
            return state, updates

        state, updates = jax.lax.scan(step, tx.init(PARAMS), gradients)
        return updates, state

    mapped = jax.vmap(worker, 1, axis_name=AXIS)
    updates, state = jax.jit(mapped)(jnp.asarray(gradients))
    return updates[0], state


def test_it_asks_for_parameters():
    def worker(gradient):
        return make().update(gradient, make().init(PARAMS))

    with pytest.raises(ValueError, match="`params` are needed for the norms of layers"):
        jax.vmap(worker, axis_name=AXIS)(GRADIENTS[0])


def test_norms_are_of_whole_leaves_where_shards_are():
    """Each of two pods has two halves of a leaf."""
    mesh = jax.make_mesh((2, 2), ("dcn", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    tx = jd.optimizers.one_bit_lamb("dcn", 0.1, 4)
    params = {"w": jnp.arange(1.0, 17.0).reshape(4, 4)}
    batches = jax.random.normal(jax.random.key(0), (3, 4, 4))

    def loss(params, batch):
        return jnp.mean(jnp.square(batch @ params["w"]))

    def train(init, step, params):
        state = init(params)
        for batch in batches:
            state, _ = step(state, batch)
        return state

    placed = jax.device_put(params, jax.NamedSharding(mesh, P("fsdp")))
    found = train(*jd.data_parallel(loss, tx, mesh, "dcn"), placed)
    assert found.params["w"].sharding.spec == P("fsdp")
    wanted = train(*jd.simulate(loss, tx, 2, "dcn"), params)
    harness.assert_trees_close(found.params, wanted.params)
    coefficients = (x.opt_state.coefficients["w"] for x in (found, wanted))
    np.testing.assert_allclose(*coefficients, rtol=1e-5)


def test_the_report_says_what_a_step_sends():
    params = {"w": jnp.zeros((64, 64)), "b": jnp.zeros(64)}
    tx = jd.optimizers.one_bit_lamb(AXIS, 0.1, 5)
    warm, after = (jd.communication_report(tx, params, 8, step=step) for step in (4, 5))
    norms = 7 / 8 * 2 * 4 * 4  # two of each leaf
    assert warm.total_nbytes - norms == warm.dense_nbytes == after.dense_nbytes
    signs = 7 * 2 * (64 * 64 / 8 / 8 + 4) + 7 / 8 * 2 * 64 * 4
    assert after.total_nbytes == signs + norms
