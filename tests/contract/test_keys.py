"""States hold a key where something may be drawn, and nothing else gets one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import _random
from tests import harness

TOP = jd.compression.error_feedback(jd.compression.top_k(0.5))
RANDOM = jd.compression.error_feedback(
    jd.compression.contractive(jd.compression.random_k(0.5))
)
BUCKETS = jd.rules.bucketing(2, 1, then=jd.rules.krum)
PARAMS = {"b": jnp.zeros(3), "w": jnp.zeros((4, 5))}

# Whether something may be drawn, and what.
COMPRESSORS = [
    (False, TOP),
    (True, RANDOM),
    (False, jd.compression.by_leaf(TOP, {"b": TOP})),
    (True, jd.compression.by_leaf(RANDOM, {"b": TOP})),
    (True, jd.compression.by_leaf(TOP, {"b": RANDOM}, joint=True)),
    (
        False,
        jd.compression.by_step(
            {0: TOP, 1: jd.compression.by_leaf(TOP, min_ndim=0, min_size=0)}
        ),
    ),
    (
        True,
        jd.compression.by_step(
            {0: TOP, 1: jd.compression.by_leaf(RANDOM, min_ndim=0, min_size=0)}
        ),
    ),
    (
        True,
        jd.compression.LeafPolicy(lambda path, leaf: TOP),
    ),  # nobody knows what else it takes
]
TRANSFORMATIONS = [
    *((draws, jd.compress(compressor)) for draws, compressor in COMPRESSORS),
    *(
        (draws, jd.aggregate("data", compressor=compressor, route="gather"))
        for draws, compressor in COMPRESSORS
    ),
    (False, jd.aggregate("data", downlink=TOP)),
    (True, jd.aggregate("data", downlink=RANDOM)),
    (True, jd.aggregate("data", BUCKETS)),
    (True, jd.aggregate("data", jd.rules.clipping(1.0, then=BUCKETS))),
    (False, jd.aggregate("data", jd.rules.nnm(1, then=jd.rules.krum(1)), TOP)),
    (False, jd.aggregate("data", compressor=TOP, scope="leaf")),
    (True, jd.aggregate("data", compressor=RANDOM, scope="leaf")),
    (True, jd.shard_optimizer("data", optax.sgd(0.1), compressor=RANDOM)),
    (False, jd.shard_optimizer("data", optax.sgd(0.1), compressor=TOP)),
    (False, jd.inject_attack("data", jd.attacks.non_finite("inf"), 1)),
    (True, jd.inject_attack("data", jd.attacks.non_finite("mixed"), 1)),
    (
        True,
        jd.inject_attack(
            "data", jd.attacks.optimal_inner_product_manipulation(BUCKETS), 1
        ),
    ),
]


def is_stream(node):
    return isinstance(node, _random.Stream)


@pytest.mark.parametrize(("draws", "tx"), TRANSFORMATIONS)
def test_a_state_holds_a_key_where_something_may_be_drawn(draws, tx):
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * 8), PARAMS)
    init = jax.jit(jax.vmap(tx.init, axis_name="data"))
    streams = filter(is_stream, jax.tree.leaves(init(params), is_leaf=is_stream))
    assert any(streams) == draws


@pytest.mark.parametrize("compressor", [TOP, RANDOM])
def test_states_without_leaves_have_the_same_structure(compressor):
    tx = jd.compress(compressor)
    state = optax.tree_map_params(tx, lambda leaf: leaf + 1, tx.init(PARAMS))
    np.testing.assert_array_equal(state.compressor_state["b"].residual, jnp.ones(3))


def test_a_stage_may_draw_after_one_that_does_not():
    """The same as if all stages drew, and other numbers in every step."""
    sometimes = jd.compress(jd.compression.by_step({0: TOP, 1: RANDOM}))
    updates = jnp.arange(1.0, 65)
    state, seen = sometimes.init(updates), []
    for _ in range(3):
        out, state = sometimes.update(updates, state)
        seen.append(np.asarray(out))
    assert not np.array_equal(seen[1] != 0, seen[2] != 0)


def noisy(leaf, state, keys, blocks):
    return leaf[None] + jax.random.normal(keys.own, leaf.shape), state


def shuffled(geometry, key, memory):
    weights = jax.random.dirichlet(key, jnp.ones(geometry.finite.shape[0]))
    return weights[None], memory


def noise(updates, key):
    return jax.tree.map(lambda x: jax.random.normal(key, x.shape), updates)


UNSAID = {
    "compress": jd.compress(
        jd.Compressor(
            lambda leaf: (),
            noisy,
            lambda payload, like, keys: payload[0],
            jd.Contract(splittable=False),
        )
    ),
    "rule": jd.aggregate("data", jd.AggregationRule("shuffled", mix=shuffled)),
    "attack": jd.inject_attack("data", jd.Attack(noise), 1),
}


@pytest.mark.parametrize("tx", UNSAID.values(), ids=UNSAID)
def test_what_draws_without_saying_so_fails(tx):
    updates = jnp.ones((harness.NUM_WORKERS, 5))
    with pytest.raises(TypeError, match="NoneType"):
        jax.jit(jax.vmap(lambda g: tx.update(g, tx.init(g))[0], axis_name="data"))(
            updates
        )


def test_what_says_that_it_draws_gets_a_key():
    rows = jnp.eye(4)
    rule = jd.AggregationRule("shuffled", mix=shuffled, draws=True)
    assert rule(rows).std() > 0
    attack = jd.Attack(noise, draws=True)
    assert np.unique(attack(rows, 2)[2:]).size == 8
