"""Contractive: unbiased compressors made fit for error feedback."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness


def test_scales_by_one_over_one_plus_variance():
    compressor = jd.compression.contractive(jd.compression.random_k(0.25))
    plain, _ = harness.roundtrip(jd.compression.random_k(0.25), jnp.ones(8), 0)
    shrunk, _ = harness.roundtrip(compressor, jnp.ones(8), 0)
    np.testing.assert_allclose(shrunk, plain / 4)
    assert compressor.contract.contraction(8) == pytest.approx(1 / 4)
    assert not compressor.contract.unbiased
    assert compressor.contract.linear


def test_lossless_stays_lossless():
    seen, _ = harness.roundtrip(
        jd.compression.contractive(jd.compression.identity()), jnp.arange(4.0)
    )
    np.testing.assert_array_equal(seen, jnp.arange(4.0))


@pytest.mark.parametrize(
    "biased", [jd.compression.top_k(0.1), jd.compression.scaled_sign()]
)
def test_biased_compressors_are_refused(biased):
    with pytest.raises(ValueError, match="`compressor` must be unbiased.*as it is"):
        jd.compression.contractive(biased)
