"""Cosine transforms around any compressor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression.numerics import _cosine
from tests import harness


@pytest.mark.parametrize("length", [1, 2, 5, 64])
def test_basis_is_orthonormal(length):
    basis = _cosine.cosine_basis(length)
    np.testing.assert_allclose(basis @ basis.T, np.eye(length), atol=1e-6)


@pytest.mark.parametrize("shape", [(), (7,), (64,), (13, 7), (3, 3, 2, 5)])
@pytest.mark.parametrize("blocks", [1, 4])
def test_around_a_lossless_compressor_nothing_changes(shape, blocks):
    leaf = jax.random.normal(jax.random.key(0), shape)
    inner = jd.compression.top_k(1.0)
    compressor = _cosine.in_frequencies(inner, 64, "all of it")
    seen, _ = harness.roundtrip(compressor, leaf, blocks=blocks)
    np.testing.assert_allclose(seen, leaf, atol=1e-5)


def test_promises_are_those_of_the_inner():
    inner = jd.compression.atomo(0.1)
    contract = _cosine.in_frequencies(inner, 64, "").contract
    assert contract.unbiased and contract.stochastic and not contract.aligned
    assert contract.variance(100) == inner.contract.variance(128)


@pytest.mark.parametrize("size", [0, 513])
def test_transforms_have_a_range(size):
    with pytest.raises(ValueError, match=r"`transform_size` must be in \[1, 512\]"):
        _cosine.in_frequencies(jd.compression.top_k(0.1), size, "")


def test_a_smooth_leaf_needs_one_atom():
    leaf = jnp.full(64, 3.0)
    for seed in range(5):
        seen, _ = harness.roundtrip(
            jd.compression.atomo(1 / 64, basis="dct"), leaf, seed
        )
        np.testing.assert_allclose(seen, leaf, rtol=5e-3)
