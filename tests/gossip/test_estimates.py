"""Estimates of neighbours become exact, as fast as the step size lets them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.gossip import problem

START = np.random.default_rng(0).standard_normal((8, 50)).astype(np.float32)
TOP, SIGN = jd.compression.top_k(0.1), jd.compression.scaled_sign()
IDENTITY = jd.compression.identity()


def gossiped(tx, num_steps, start=START, weight=None):
    """Return parameters and state after steps without gradients."""

    def worker(own, weight):
        def step(carry, weight):
            own, state = carry
            extra = {} if weight is None else {"weight": weight}
            updates, state = tx.update(jnp.zeros_like(own), state, own, **extra)
            return (own + updates, state), None

        carry = own, tx.init(own)
        return jax.lax.scan(step, carry, weight, length=num_steps)[0]

    axes = 0, None if weight is None else 1
    mapped = jax.vmap(worker, axes, axis_name=problem.AXIS)
    return jax.jit(mapped)(jnp.asarray(start), weight)


def estimates_of(state):
    kept = state.estimates
    return (np.asarray(x.inner_state)[:, 0] for x in (kept.own, kept.others))


def choco(compressor, **kwargs):
    return jd.mix_with_neighbors(problem.AXIS, jd.gossip.ring(), compressor, **kwargs)


@pytest.mark.parametrize(
    ("compressor", "step_size", "low", "high"),
    [
        (TOP, 0.05, 0.5e-4, 2e-4),
        (TOP, 0.1, 1e-8, 4e-8),
        (TOP, 0.2, 0, 1e-12),
        (TOP, 0.3, 0, 1e-12),
        (TOP, 0.4, 1e-4, 1),  # stalls
        (TOP, 0.6, 10, np.inf),  # diverges
        (SIGN, 0.2, 1e-10, 1e-9),
        (SIGN, 0.8, 0, 1e-12),
        (SIGN, 1.0, 0, 1e-12),
    ],
)
def test_step_sizes(compressor, step_size, low, high):
    """Squared distances after 400 steps on a ring, of the ones in the beginning."""
    ends, state = gossiped(choco(compressor, step_size=step_size), 400)
    ratio = jd.consensus_distance(ends) / jd.consensus_distance(jnp.asarray(START))
    assert low <= ratio**2 <= high
    own, others = estimates_of(state)
    matrix = jd.gossip.ring().matrix(8)
    scale = max(1, np.abs(own).max())
    np.testing.assert_allclose(others, matrix @ own - own, atol=2e-6 * scale)
    if step_size < 0.4:
        np.testing.assert_allclose(ends.mean(axis=0), START.mean(axis=0), atol=2e-5)


@pytest.mark.parametrize("order", ["combine_then_adapt", "adapt_then_combine"])
def test_without_loss_it_is_the_plain_mixing(order):
    plain = jd.mix_with_neighbors(problem.AXIS, jd.gossip.ring(), order=order)
    with jax.enable_x64(True):
        expected = problem.trained(plain, 300)
        found = problem.trained(choco(IDENTITY, order=order), 300)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["combine_then_adapt", "adapt_then_combine"])
def test_the_steps_of_the_paper(order):
    tx = choco(TOP, step_size=0.2, order=order)
    found = problem.trained(tx, 12)
    own = np.zeros((8, 50))
    estimates = np.zeros((8, 50))
    differences = jd.gossip.ring().matrix(8) - np.eye(8)
    for _ in range(12):
        step = -0.05 * problem.CURVATURES * (own - problem.CENTERS)
        meets = own if order == "combine_then_adapt" else own + step
        news = [harness.roundtrip(TOP, jnp.float32(x))[0] for x in meets - estimates]
        estimates += np.asarray(news)
        own = own + step + 0.2 * differences @ estimates
    np.testing.assert_allclose(found, own, rtol=1e-4, atol=1e-5)


def test_what_is_drawn_is_drawn_alike():
    """Neighbours know which coordinates a worker sent, though no index travels."""
    compressor = jd.compression.contractive(jd.compression.random_k(0.2, shared=False))
    ends, state = gossiped(choco(compressor, step_size=0.05), 60)
    own, others = estimates_of(state)
    matrix = jd.gossip.ring().matrix(8)
    np.testing.assert_allclose(others, matrix @ own - own, atol=2e-6)
    assert jd.consensus_distance(ends) < 0.8 * jd.consensus_distance(START)


def test_a_rule_sees_an_estimate_of_each_neighbour():
    """The plain mean of them is the mixing of a ring."""
    ends, state = gossiped(choco(TOP, rule=jd.rules.mean(), step_size=0.1), 30)
    expected, _ = gossiped(choco(TOP, step_size=0.1), 30)
    np.testing.assert_allclose(ends, expected, rtol=1e-4, atol=1e-5)
    own, others = estimates_of(state)
    for i in range(8):
        before, behind = sorted([(i - 1) % 8, (i + 1) % 8])
        found = sorted([others[i, :, 0].tolist(), others[i, :, 1].tolist()])
        close = sorted([own[before].tolist(), own[behind].tolist()])
        np.testing.assert_allclose(found, close, atol=1e-6)


def test_the_last_estimate_stands_for_who_is_absent():
    weight = np.ones((40, 8), np.float32)
    weight[5:20, 2] = 0
    ends, state = gossiped(choco(TOP, step_size=0.1), 40, weight=jnp.asarray(weight))
    own, others = estimates_of(state)
    matrix = jd.gossip.ring().matrix(8)
    np.testing.assert_allclose(others, matrix @ own - own, atol=2e-6)
    np.testing.assert_allclose(ends.mean(axis=0), START.mean(axis=0), atol=1e-5)


def test_a_nan_stays_where_it_is():
    start = START.copy()
    start[3, 7] = np.nan
    ends, state = gossiped(choco(TOP, step_size=0.1), 20, start)
    assert np.isfinite(np.delete(np.asarray(ends), 3, axis=0)).all()
    assert all(np.isfinite(x).all() for x in estimates_of(state))


def test_bytes_are_those_of_payloads():
    params = {"w": jnp.zeros(1000), "half": jnp.zeros(50, jnp.bfloat16)}
    report = jd.communication_report(choco(TOP), params, 8)
    payload = sum(jd.payload_nbytes(TOP, leaf) for leaf in params.values())
    assert report.total_nbytes == 2 * payload
    assert [row.leaf for row in report.shipments] == ["half", "w"]


def test_memory_does_not_grow_with_the_neighbours():
    params = jnp.zeros(100)

    def floats(topology, **kwargs):
        tx = jd.mix_with_neighbors(harness.AXIS, topology, TOP, **kwargs)
        init = jax.vmap(lambda _: tx.init(params), axis_name=harness.AXIS)
        state = jax.eval_shape(init, jnp.arange(8))
        return sum(x.size for x in jax.tree.leaves(state.estimates)) / 800

    assert floats(jd.gossip.ring()) == floats(jd.gossip.complete()) == 2
    assert floats(jd.gossip.circulant(1, 2), rule=jd.rules.median()) == 5


@pytest.mark.parametrize(
    ("compressor", "message"),
    [
        (jd.compression.error_feedback(TOP), "remembers what it did not send, and so"),
        (jd.compression.ef21(TOP), "remembers what it did not send, and so"),
        (jd.compression.random_k(0.01), r"no contraction .* contractive\(random_k"),
        (jd.compression.by_leaf(TOP, joint=True), "must compress each leaf by itself"),
    ],
)
def test_compressors_that_do_not_fit(compressor, message):
    with pytest.raises(ValueError, match=f"`compressor` .*{message}"):
        choco(compressor)


def test_phases_and_policies_that_do_not_fit():
    drawn = jd.gossip.random_pairs()
    with pytest.raises(ValueError, match="`compressor` needs a topology of one phase"):
        jd.mix_with_neighbors("x", drawn, TOP)
    peers = jd.mix_with_neighbors(harness.AXIS, jd.gossip.one_peer_exponential(), TOP)
    with pytest.raises(ValueError, match="one phase, .* got one_peer_exponential"):
        harness.run_steps(peers, "vmap", jnp.ones(8), jnp.ones((1, 8)))
    inside = jd.compression.by_leaf(jd.compression.error_feedback(TOP))
    with pytest.raises(ValueError, match="remembers what it did not send"):
        choco(inside).init({"kernel": jnp.ones((64, 64))})
