"""How the kit runs a compressor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.testing import _run


def setting(compressor, **changes):
    options = {
        "shape": (61,),
        "num_draws": 1000,
        "seed": 0,
        "variance": compressor.contract.variance,
        "independent": True,
        "nbytes": {},
    }
    return _run.Setting(compressor, **(options | changes))


def test_what_does_not_change_the_draws_does_not_change_the_setting():
    one = setting(jd.compression.qsgd(4))
    other = setting(one.compressor, nbytes={1: 2}, variance=lambda size: 3.0)
    assert one == other and hash(one) == hash(other)
    assert one != setting(one.compressor, seed=1)


def test_keys_differ_by_purpose_and_worker():
    chosen = setting(jd.compression.identity())
    keys = [chosen.keys(), chosen.keys(1), chosen.keys(1, 2), chosen.keys(1, worker=1)]
    drawn = [int(jax.random.bits(key.own)) for key in keys]
    assert len(set(drawn)) == 4
    assert jax.random.bits(keys[1].common) == jax.random.bits(keys[3].common)


@pytest.mark.parametrize("num", [3, 1024, 1500])
def test_batches_of_any_number_are_what_single_leaves_give(num):
    leaves = np.random.default_rng(0).standard_normal((num, 61)).astype(np.float32)
    keys = _run.many_steps(setting(jd.compression.identity()).keys(), num)
    seen = _run.seen_leaves(jd.compression.random_k(0.3), leaves, keys)
    assert seen.shape == leaves.shape
    last = jax.tree.map(lambda key: key[-1], keys)
    alone = _run.first_encoding(
        jd.compression.random_k(0.3), jnp.asarray(leaves[-1]), last
    ).seen
    np.testing.assert_array_equal(seen[-1], alone)


def test_batches_of_large_leaves_are_small():
    assert _run.batch_size(61) == 1024
    assert _run.batch_size(2**20) == 16


def test_what_a_compressor_raises_names_the_input():
    with pytest.raises(AssertionError, match="on this leaf it raised KeyError: 'x'"):
        with _run.on_inputs("this leaf"):
            raise KeyError("x")


def test_blocks_and_finiteness():
    rows = _run.block_rows(np.arange(5.0), 2)
    np.testing.assert_array_equal(rows, [[0, 1, 2], [3, 4, 0]])
    assert _run.is_finite((jnp.arange(3), jnp.ones(2)))
    assert not _run.is_finite({"a": jnp.array([1.0, jnp.nan])})
    assert _run.is_finite(())
