"""Random-k: the same coordinates everywhere, and all equally often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness, statistics


def test_variance_of_the_reference_vector():
    """Exactly d/k - 1 = 7 for d = 64 and k = 8, in expectation."""
    leaf = jnp.asarray(np.random.default_rng(0).standard_normal(64), jnp.float32)
    seen = statistics.draws(jd.compression.random_k(8 / 64), leaf, 20_000)
    errors = ((seen - np.asarray(leaf)) ** 2).sum(axis=1)
    assert errors.mean() / float(jnp.sum(leaf**2)) == pytest.approx(7, rel=0.03)
    assert jd.compression.random_k(8 / 64).contract.variance(64) == 7


def test_exactly_k_coordinates_scaled_by_d_over_k():
    seen, _ = harness.roundtrip(jd.compression.random_k(0.1), jnp.ones(100), 0)
    assert sorted(set(np.asarray(seen).tolist())) == [0.0, 10.0]
    assert int(jnp.sum(seen > 0)) == 10


def test_runs_of_different_lengths_stay_unbiased():
    """With d = 10 and k = 4 the runs have lengths 3, 3, 2 and 2."""
    seen = statistics.draws(jd.compression.random_k(0.4), jnp.ones(10), 5000)
    assert set(np.unique(seen)) == {0.0, 2.0, 3.0}
    np.testing.assert_allclose(seen.sum(axis=1), 10)
    assert jd.compression.random_k(0.4).contract.variance(10) == 2


def test_workers_keep_the_same_coordinates():
    common = jax.random.key(3)
    kept = []
    for worker in range(3):
        keys = jd.Keys(common, jax.random.fold_in(common, worker))
        leaf = 1 + jnp.arange(50.0) + worker
        payload, _ = jd.compression.random_k(0.2).encode(leaf, (), keys, 1)
        kept.append(
            np.flatnonzero(jd.compression.random_k(0.2).decode(payload, leaf, keys))
        )
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[0], kept[2])


def test_workers_keep_coordinates_of_their_own_and_receivers_know_them():
    compressor = jd.compression.random_k(0.2, shared=False)
    common = jax.random.key(3)
    keys = [jd.Keys(common, jax.random.fold_in(common, worker)) for worker in range(2)]
    leaf = 1 + jnp.arange(50.0)
    seen = [
        np.asarray(compressor.decode(compressor.encode(leaf, (), k, 1)[0], leaf, k))
        for k in keys
    ]
    assert (np.flatnonzero(seen[0]) != np.flatnonzero(seen[1])).any()
    for sent in seen:
        np.testing.assert_allclose(sent[sent != 0], 5 * leaf[sent != 0])
    assert jd.payload_nbytes(compressor, leaf) == 10 * 4
    assert not compressor.contract.linear and not compressor.contract.aligned


def test_density_has_a_range():
    with pytest.raises(ValueError, match=r"`density` must lie in \(0.0, 1.0\], got 2"):
        jd.compression.random_k(2)
