"""Which leaf gets which compressor."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxdist as jd
from jaxdist.compression import _per_leaf
from tests import harness


def test_check():
    _per_leaf.check_compressor("compressor", jd.compression.identity())
    _per_leaf.check_compressor(
        "compressor", jd.compression.by_leaf(jd.compression.identity()), policies=True
    )
    with pytest.raises(TypeError, match="`compressor` must be a compressor.*got 3"):
        _per_leaf.check_compressor("compressor", 3)
    with pytest.raises(TypeError, match="wrapper inside"):
        jd.compression.error_feedback(jd.compression.by_leaf(jd.compression.top_k(0.1)))


def test_leaves_without_elements_travel_as_they_are():
    assert (
        _per_leaf.select_compressor(jd.compression.top_k(0.1), "", jnp.zeros((0, 3)))
        is jd.compression.identity()
    )
    assert (
        _per_leaf.select_compressor(jd.compression.top_k(0.1), "", jnp.zeros(3))
        is not jd.compression.identity()
    )


def test_init_keeps_the_tree():
    params = {"a": jnp.zeros(3), "b": {"c": jnp.zeros((0,))}}
    states = _per_leaf.init_states(
        jd.compression.error_feedback(jd.compression.top_k(0.5)), params
    )
    assert states["b"]["c"] == ()
    assert states["a"].residual.shape == (3,)


def test_payload_like_computes_nothing():
    huge = jax.ShapeDtypeStruct((2**40,), jnp.float32)
    assert _per_leaf.payload_nbytes(jd.compression.scaled_sign(), huge) == 2**37 + 4


def test_blocks_of():
    payload = jd.compression.scaled_sign().encode(jnp.zeros(16), (), None, 4)[0]
    assert _per_leaf.blocks_of(payload) == 4


def test_states_are_found_by_name_in_any_container():
    """What nnx makes of a state: mappings in place of named tuples, nothing empty."""
    compressors = [
        jd.compression.error_feedback(jd.compression.top_k(0.5)),
        jd.compression.identity(),
    ]
    leaves = [jnp.zeros(3), jnp.zeros(2)]
    mangled = {"a": {"residual": jnp.ones(3)}}
    states = _per_leaf.find_states(compressors, ["a", "b"], leaves, mangled)
    assert isinstance(states[0], jd.compression.ErrorFeedbackState)
    assert states[0].residual is mangled["a"]["residual"]
    assert states[1] == ()
    with pytest.raises(ValueError, match="`state` has no 'c/residual'.*error_feedback"):
        _per_leaf.find_states(compressors[:1], ["c"], leaves[:1], mangled)


@pytest.mark.parametrize(
    "tx",
    [
        jd.compress(jd.compression.error_feedback(jd.compression.top_k(0.1))),
        jd.aggregate("data", compressor=jd.compression.top_k(0.1)),
    ],
)
def test_two_leaves_of_one_name_would_share_a_memory(tx):
    params = {"a/b": jnp.zeros(3), "a": {"b": jnp.zeros(3)}}
    with pytest.raises(ValueError, match="two leaves of the name 'a/b'"):
        tx.init(params)
    state = tx.init({"a/b": jnp.zeros(3), "c": jnp.zeros(3)})
    with pytest.raises(ValueError, match="two leaves of the name 'a/b'"):
        jax.jit(jax.vmap(lambda g: tx.update(g, state), axis_name="data"))(
            jax.tree.map(lambda leaf: leaf[None], params)
        )


@pytest.mark.parametrize(
    "compressor", [jd.compression.qsgd(), jd.compression.scaled_sign()], ids=repr
)
def test_no_imaginary_part_is_dropped(compressor):
    leaf = jnp.zeros(3, jnp.complex64)
    with pytest.raises(TypeError, match="complex64.*would drop the imaginary part"):
        harness.roundtrip(compressor, leaf, 0)
    tx = jd.compress(compressor)
    with pytest.raises(TypeError, match="leaf 'z' is complex64"):
        tx.update({"z": leaf}, tx.init({"z": leaf}))
    whole = jd.compress(jd.compression.identity())
    assert whole.update(leaf, whole.init(leaf))[0].dtype == jnp.complex64


def test_a_tree_without_leaves_has_nothing_to_match():
    policy = jd.compression.by_leaf(
        jd.compression.top_k(0.1), {"w*": jd.compression.identity()}
    )
    tx = jd.aggregate("data", compressor=policy)
    state = tx.init({"w": jnp.ones(3)})
    mapped = optax.tree_map_params(tx, lambda leaf: leaf, state)
    assert jax.tree.structure(mapped) == jax.tree.structure(state)
    with pytest.raises(ValueError, match="matches no leaf"):
        tx.init({"b": jnp.ones(3)})
