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


def test_keys_differ_by_step_leaf_and_worker():
    key = jax.random.key(0)
    derived = [key]
    for i in range(3):
        derived += [_random.step_key(key, i)]
    step = _random.step_key(key, 5)
    derived += [_random.leaf_key(step, i) for i in range(3)]
    leaf = _random.leaf_key(step, 7)
    derived += [_random.keys_of(leaf, i).own for i in range(3)]
    data = {tuple(np.asarray(jax.random.key_data(k))) for k in derived}
    assert len(data) == len(derived)
    assert _random.keys_of(leaf, 0).common == leaf


def test_is_key():
    assert not _tree.is_key(jnp.zeros(2, jnp.uint32))
