"""Rules on closed neighbourhoods keep what BRIDGE promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.gossip import problem

RNG = np.random.default_rng(0)
RULES = {
    "T": jd.rules.trimmed_mean(2),
    "M": jd.rules.median(),
    "K": jd.rules.krum(2),
    "B": jd.rules.bulyan(2),
}
FAR = jd.gossip.circulant(1, 2, 3, 4, 5)
START = RNG.standard_normal((16, 7)).astype(np.float32)


def lies(params, sender, receiver, key):
    """Workers 0 and 1 tell every neighbour something else."""
    noise = 1e3 * jax.random.normal(key, params.shape) + receiver.astype(jnp.float32)
    return jnp.where(sender < 2, noise, params)


def screened(rule, topology=FAR, start=START, num_steps=1, **kwargs):
    """Return parameters after steps without gradients."""
    tx = jd.mix_with_neighbors(problem.AXIS, topology, rule=rule, **kwargs)

    def worker(own):
        def step(carry, _):
            own, state = carry
            updates, state = tx.update(jnp.zeros_like(own), state, own)
            return (own + updates, state), None

        return jax.lax.scan(step, (own, tx.init(own)), length=num_steps)[0][0]

    mapped = jax.vmap(worker, axis_name=problem.AXIS)
    return np.asarray(jax.jit(mapped)(jnp.asarray(start)))


def neighborhoods(topology, num_workers):
    matrix = topology.matrix(num_workers)
    return [np.nonzero(row)[0] for row in matrix]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("topology", [FAR, jd.gossip.complete()], ids=repr)
def test_it_is_the_rule_of_each_closed_neighbourhood(name, topology):
    found = screened(RULES[name], topology)
    for i, members in enumerate(neighborhoods(topology, 16)):
        expected = jax.jit(RULES[name])(START[members])
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=2e-6)


def test_without_byzantine_workers_it_is_plain_descent():
    for rule in (jd.rules.trimmed_mean(0), jd.rules.mean()):
        expected = FAR.matrix(16) @ START
        np.testing.assert_allclose(screened(rule), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_each_coordinate_stays_between_those_of_honest_neighbours(name):
    found = screened(RULES[name], corrupt=lies)
    for i, members in enumerate(neighborhoods(FAR, 16)):
        honest = START[[j for j in members if j >= 2]]
        if i >= 2:
            slack = 1e-5
            assert (found[i] >= honest.min(axis=0) - slack).all()
            assert (found[i] <= honest.max(axis=0) + slack).all()


@pytest.mark.parametrize("name", ["T", "M"])
def test_honest_workers_of_a_complete_graph_come_to_agree(name):
    start, ranges = START[:10], []
    for steps in (0, 1, 5, 40):
        honest = screened(
            RULES[name], jd.gossip.complete(), start, steps, corrupt=lies
        )[2:]
        ranges.append(np.ptp(honest, axis=0))
        assert (honest >= start[2:].min(axis=0) - 1e-5).all()
        assert (honest <= start[2:].max(axis=0) + 1e-5).all()
    assert all((b <= a + 1e-5).all() for a, b in zip(ranges, ranges[1:], strict=False))
    assert ranges[-1].max() < 1e-3


@pytest.mark.parametrize("name", ["T", "M"])
def test_equal_honest_workers_of_a_complete_graph_are_one(name):
    """They walk as one worker alone, whatever the Byzantine say."""
    tx = jd.mix_with_neighbors(
        problem.AXIS, jd.gossip.complete(), rule=RULES[name], corrupt=lies
    )
    curvatures = np.ones((8, 5)) * problem.CURVATURES[0, :5]
    centers = np.ones((8, 5)) * problem.CENTERS[0, :5]
    found = problem.trained(tx, 30, curvatures, centers)
    own = np.zeros(5)
    for _ in range(30):
        own -= 0.05 * curvatures[0] * (own - centers[0])
    np.testing.assert_allclose(found[2:], np.tile(own, (6, 1)), rtol=1e-5)


def test_of_one_worker_all_neighbours_may_hear_something_else():
    def names(params, sender, receiver, key):
        del params, key
        return (100 * sender + receiver).astype(jnp.float32)[None]

    rule = jd.rules.mean()
    start = np.zeros((8, 1), np.float32)
    found = screened(rule, jd.gossip.ring(), start, corrupt=names)[:, 0]
    expected = [
        (100 * ((i - 1) % 8) + 100 * ((i + 1) % 8) + 2 * i) / 3 for i in range(8)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    everybody = screened(rule, jd.gossip.complete(), start, corrupt=names)[:, 0]
    others = [(100 * (28 - i) + 7 * i) / 8 for i in range(8)]
    np.testing.assert_allclose(everybody, others, rtol=1e-6)


def test_rules_around_the_worker_itself():
    away = START[[15, 1]] - START[[0]]
    norms = np.linalg.norm(away, axis=1, keepdims=True)
    clipped = (away * np.minimum(1, 2 / norms)).sum(axis=0) / 3
    rules = [
        jd.rules.clipping(2.0, then=jd.rules.mean()),
        jd.rules.centered_clipping(2.0, 1),
    ]
    for rule in rules:
        found = screened(rule, jd.gossip.ring())[0]
        np.testing.assert_allclose(found, START[0] + clipped, rtol=1e-4, atol=1e-5)
    nearest = away[np.argmin(norms)]
    trusting = screened(jd.rules.monna(1), jd.gossip.ring())[0]
    np.testing.assert_allclose(trusting, START[0] + nearest / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", [jd.rules.mean(), jd.rules.median()], ids=repr)
def test_a_nan_stays_where_it_is(rule):
    start = START.copy()
    start[4, 2], start[5, 1] = np.nan, np.inf
    found = screened(rule, start=start)
    assert np.isfinite(np.delete(found, [4, 5], axis=0)).all()
    if rule.linear:
        members = np.setdiff1d(neighborhoods(FAR, 16)[0], [4, 5])
        np.testing.assert_allclose(found[0], start[members].mean(axis=0), atol=1e-6)


def test_where_nobody_can_be_trusted_the_worker_stays():
    start = START.copy()
    start[1:4] = np.nan
    found = screened(RULES["K"], start=start)
    np.testing.assert_array_equal(found[0], start[0])


def test_who_is_absent_is_not_screened():
    tx = jd.mix_with_neighbors(problem.AXIS, FAR, rule=RULES["T"])
    weight = np.ones(16, np.float32)
    weight[[3, 7]] = 0

    def worker(own, weight):
        state = tx.init(own)
        return tx.update(jnp.zeros_like(own), state, own, weight=weight)[0]

    mapped = jax.vmap(worker, axis_name=problem.AXIS)
    moves = np.asarray(jax.jit(mapped)(jnp.asarray(START), weight))
    assert not moves[[3, 7]].any()
    members = np.setdiff1d(neighborhoods(FAR, 16)[0], [3, 7])
    expected = jax.jit(RULES["T"])(START[members])
    np.testing.assert_allclose(START[0] + moves[0], expected, rtol=1e-5, atol=1e-5)


def test_a_sharded_model_is_judged_as_a_whole():
    """Distances of two halves of the parameters are those of all of them."""
    axes = ("data", "model")
    mesh = jax.make_mesh((4, 2), axes, axis_types=(jax.sharding.AxisType.Auto,) * 2)
    tx = jd.mix_with_neighbors("data", jd.gossip.complete(), rule=jd.rules.monna(1))

    def worker(own):
        return own + tx.update(jnp.zeros_like(own), tx.init(own), own)[0]

    rows = START[:4, :6]
    specs = jax.sharding.PartitionSpec("data", "model")
    mapped = jax.shard_map(worker, mesh=mesh, in_specs=specs, out_specs=specs)
    expected = screened(jd.rules.monna(1), jd.gossip.complete(), rows)
    np.testing.assert_allclose(jax.jit(mapped)(rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "topology", "message"),
    [
        (jd.rules.trimmed_mean(2), jd.gossip.ring(), "2 neighbours .* got 3 with the"),
        (jd.rules.bulyan(2), jd.gossip.circulant(1, 2, 3, 4), "8 neighbours .* got 9"),
        (jd.rules.trimmed_mean(1), jd.gossip.star(), "1 neighbours .* got 2 with the"),
        (jd.rules.krum(1), jd.gossip.one_peer_exponential(), "1 neighbours .* got 2"),
    ],
)
def test_rules_that_need_more_neighbours(rule, topology, message):
    with pytest.raises(
        ValueError, match=f"`rule` {rule.name.split('(')[0]}.*{message}"
    ):
        screened(rule, topology)


def test_estimates_under_a_rule_need_equally_many_neighbours():
    message = "behind `compressor` needs equally many .* got star.* with 1 to 15"
    with pytest.raises(ValueError, match=message):
        screened(
            jd.rules.mean(), jd.gossip.star(), compressor=jd.compression.top_k(0.5)
        )


UNEQUAL = {
    "star": jd.gossip.star(),
    "all hear the first": jd.gossip.graph(
        (np.eye(16) + np.roll(np.eye(16), -1, axis=0) + np.eye(16)[[0] * 16]) / 3
    ),
    "metropolis": jd.gossip.metropolis(
        np.add.outer(np.arange(16), np.arange(16)) % 5 < 3
    ),
}


@pytest.mark.parametrize("name", UNEQUAL)
@pytest.mark.parametrize("rule", [jd.rules.mean(), jd.rules.median()], ids=repr)
def test_who_has_fewer_neighbours_hears_nobody_else(name, rule):
    found = screened(rule, UNEQUAL[name])
    for i, members in enumerate(neighborhoods(UNEQUAL[name], 16)):
        expected = jax.jit(rule)(START[np.union1d(members, i)])
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=2e-6)


def test_weights_do_not_matter_to_a_rule():
    matrix = [[0.5, 0.5, 0.0], [0.0, 0.75, 0.25], [0.5, 0.0, 0.5]]
    found = screened(jd.rules.mean(), jd.gossip.graph(matrix), START[:3])
    expected = (START[:3] + START[[1, 2, 0]]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_compares_with_a_reference_is_refused():
    with pytest.raises(ValueError, match="reference gradient. Take monna"):
        jd.mix_with_neighbors("x", FAR, rule=jd.rules.fltrust())


def test_phases_of_one_degree_will_do_for_a_rule():
    topology = jd.gossip.one_peer_exponential()
    tx = jd.mix_with_neighbors(harness.AXIS, topology, rule=jd.rules.mean())
    plain = jd.mix_with_neighbors(harness.AXIS, topology)
    updates = jnp.asarray(RNG.standard_normal((4, 8, 3)), jnp.float32)
    params = jnp.asarray(RNG.standard_normal((8, 3)), jnp.float32)
    found = harness.run_steps(tx, "vmap", params, updates)[0]
    expected = harness.run_steps(plain, "vmap", params, updates)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
