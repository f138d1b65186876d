"""Keys are typed, common where all draw together, own where each draws alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import _random, _tree


@pytest.mark.parametrize(
    "key", [3, np.int32(3), jnp.int32(3), jax.random.key(3), jax.random.PRNGKey(3)]
)
def test_as_key_takes_seeds_raw_and_typed_keys(key):
    assert _random.as_key(key) == jax.random.key(3)
    assert _tree.is_key(_random.as_key(key))


def test_keys_differ_by_origin_step_leaf_and_worker():
    key = jax.random.key(0)
    streams = [_random.stream_of(0, origin) for origin in ("over a", "over b")]
    derived = [key, *[stream.key for stream in streams]]
    for stream in streams:
        derived += [_random.step_key(stream, i) for i in range(3)]
    step = _random.step_key(streams[0], 5)
    derived += [_random.named_key(step, name) for name in ("w", "v", "layer/w")]
    leaf = _random.named_key(step, "w")
    derived += [_random.keys_of(leaf, i).own for i in range(3)]
    data = {tuple(np.asarray(jax.random.key_data(k))) for k in derived}
    assert len(data) == len(derived)
    assert _random.keys_of(leaf, 0).common == leaf


def test_streams_are_plain_numbers():
    stream = _random.stream_of(jax.random.key(3, impl="rbg"), "here")
    assert stream.words.shape == (2,) and stream.words.dtype == jnp.uint32
    assert str(jax.random.key_impl(stream.key)) == "threefry2x32"


def test_map_keys_finds_typed_keys_and_streams():
    tree = {"typed": jax.random.key(1), "stream": _random.stream_of(1, "x"), "n": 3.0}
    tree = jax.tree.map(jnp.asarray, tree)
    mapped = _random.map_keys(lambda key: jax.random.fold_in(key, 9), tree)
    assert mapped["typed"] == jax.random.fold_in(tree["typed"], 9)
    assert mapped["stream"].key == jax.random.fold_in(tree["stream"].key, 9)
    assert mapped["n"] == 3.0


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_words_of_any_implementation_go_on(impl):
    words = _random.key_data(jax.random.key(5, impl=impl))
    now, later = _random.split_data(words)
    assert str(jax.random.key_impl(now)) == impl
    assert later.shape == words.shape and not np.array_equal(later, words)
    np.testing.assert_array_equal(
        _random.key_data(5), jax.random.key_data(jax.random.key(5))
    )


def test_is_key():
    assert not _tree.is_key(jnp.zeros(2, jnp.uint32))
