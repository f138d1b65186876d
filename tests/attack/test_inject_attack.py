"""Injected attacks hit the last workers and nobody else, with or without a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

ATTACKS = [jd.sign_flip(2.0), jd.gaussian(3.0)]


@pytest.mark.parametrize("attack", ATTACKS, ids=[a.name for a in ATTACKS])
@pytest.mark.parametrize("num_byzantine", [0, 1, 3, 8])
def test_only_the_last_workers_attack(attack, num_byzantine):
    updates = jax.tree.map(lambda x: x[0], harness.gradients())
    tx = jd.inject_attack(harness.AXIS, attack, num_byzantine)

    def worker(updates):
        return tx.update(updates, tx.init(updates))[0]

    sent = harness.run(worker, "shard_map", updates)
    honest = harness.NUM_WORKERS - num_byzantine
    for name, leaf in updates.items():
        assert sent[name].dtype == leaf.dtype
        np.testing.assert_array_equal(sent[name][:honest], leaf[:honest])
        if leaf.size and num_byzantine:
            assert bool(jnp.all(jnp.any(sent[name] != leaf, axis=None)))


@pytest.mark.parametrize("attack", ATTACKS, ids=[a.name for a in ATTACKS])
def test_stacked_and_mapped_are_the_same(attack):
    updates = jax.tree.map(lambda x: x[0], harness.gradients())
    tx = jd.inject_attack(harness.AXIS, attack, 3, key=5)

    def worker(updates):
        return tx.update(updates, tx.init(updates))[0]

    mapped = harness.run(worker, "vmap", updates)
    first_step = jax.random.fold_in(jax.random.key(5), 0)
    harness.assert_trees_close(attack(updates, 3, first_step), mapped)


def test_range_of_num_byzantine():
    with pytest.raises(ValueError, match="`num_byzantine` must be an integer >= 0"):
        jd.inject_attack("a", jd.sign_flip(), -1)
    with pytest.raises(
        ValueError, match=r"`num_byzantine`.*\[0, 4\].*4 workers, got 5"
    ):
        jd.sign_flip()(jnp.ones((4, 2)), 5)


def test_attack_is_checked():
    with pytest.raises(TypeError, match="`attack` must be of type Attack.*got 'sign'"):
        jd.inject_attack("a", "sign", 1)


def test_an_attack_of_the_users_own():
    nan = jd.Attack(lambda updates, key: jax.tree.map(lambda x: x * jnp.nan, updates))
    sent = nan(jnp.ones((3, 2)), 1)
    np.testing.assert_array_equal(jnp.isnan(sent).any(axis=1), [False, False, True])
