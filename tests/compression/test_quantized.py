"""Quantized: the values of a sparsifier through a quantizer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness, statistics

VECTOR = jnp.asarray(np.random.default_rng(0).standard_normal(200), jnp.float32)


@pytest.mark.parametrize(
    ("sparsifier", "quantizer", "scales"),
    [
        (jd.compression.top_k, jd.compression.qsgd(8), 160),
        (jd.compression.top_k, jd.compression.blockwise_int(8), 320),
        (jd.compression.dct_top_k, jd.compression.blockwise_int(8), 320),
        (
            functools.partial(jd.compression.dct_top_k, dimensions=2),
            jd.compression.blockwise_int(8),
            320,
        ),
    ],
)
def test_demo_layout_of_10_million_parameters(sparsifier, quantizer, scales):
    """32 of each 4096: DeMo sends 983 040 bytes, with indices of eight."""
    leaf = jax.ShapeDtypeStruct((2560, 4096), jnp.float32)
    compressor = jd.compression.quantized(sparsifier(32 / 4096, 4096), quantizer)
    nbytes = jd.payload_nbytes(compressor, leaf)
    assert nbytes == 81_920 + 81_920 * 3 // 2 + scales * 4
    assert nbytes <= 0.21 * 983_040


def test_lossless_values_change_nothing():
    compressor = jd.compression.quantized(
        jd.compression.top_k(0.1, 30), jd.compression.identity()
    )
    for blocks in (1, 3):
        one, _ = harness.roundtrip(compressor, VECTOR, blocks=blocks)
        other, _ = harness.roundtrip(
            jd.compression.top_k(0.1, 30), VECTOR, blocks=blocks
        )
        np.testing.assert_array_equal(one, other)


def test_same_places_and_narrow_values():
    compressor = jd.compression.quantized(
        jd.compression.top_k(0.1), jd.compression.qsgd(8)
    )
    seen, _ = harness.roundtrip(compressor, VECTOR, 0)
    exact, _ = harness.roundtrip(jd.compression.top_k(0.1), VECTOR)
    np.testing.assert_allclose(seen, exact, atol=float(jnp.linalg.norm(exact)) / 127)
    assert (np.flatnonzero(seen) == np.flatnonzero(exact)).all()


def test_variance_of_unbiased_ones_multiplies():
    compressor = jd.compression.quantized(
        jd.compression.random_k(0.25), jd.compression.qsgd(4)
    )
    dropped = 3
    rounded = jd.compression.qsgd(4).contract.variance(50)
    assert compressor.contract.unbiased
    assert compressor.contract.variance(200) == pytest.approx(
        (1 + dropped) * (1 + rounded) - 1
    )


def test_runs_of_different_lengths_keep_the_bound():
    """The rounding error of long runs is scaled no more than that of short ones."""
    compressor = jd.compression.quantized(
        jd.compression.random_k(0.6), jd.compression.qsgd(2)
    )
    leaf = jnp.ones(10)  # six runs of 2 or 1
    seen = statistics.draws(compressor, leaf, 20_000)
    error = ((seen - 1) ** 2).sum(axis=1).mean() / 10
    assert error <= 1.02 * compressor.contract.variance(10)


@pytest.mark.parametrize(("bits", "contracts"), [(8, True), (2, False)])
def test_projections_contract_while_the_quantizer_does(bits, contracts):
    """Of 200 elements 20 are kept; 1-bit levels of 20 elements have omega sqrt(20)."""
    compressor = jd.compression.quantized(
        jd.compression.top_k(0.1), jd.compression.qsgd(bits)
    )
    rounded = jd.compression.qsgd(bits).contract.variance(20)
    contraction = compressor.contract.contraction(200)
    assert contraction == pytest.approx(
        0.1 * (1 - rounded) if contracts else 1 - rounded
    )
    assert (contraction > 0) == contracts
    if not contracts:
        with pytest.raises(ValueError, match="no contraction"):
            harness.roundtrip(jd.compression.error_feedback(compressor), VECTOR, 0)


def test_error_feedback_around_the_whole_telescopes():
    compressor = jd.compression.error_feedback(
        jd.compression.quantized(jd.compression.top_k(0.1), jd.compression.qsgd(8))
    )
    seen, state = harness.roundtrip(compressor, VECTOR, 0)
    np.testing.assert_allclose(seen + state.residual, VECTOR, atol=1e-6)


def test_other_biased_compositions_have_a_bound_too():
    compressor = jd.compression.quantized(
        jd.compression.threshold(1.0, max_density=0.5), jd.compression.qsgd(8)
    )
    assert 1 < compressor.contract.variance(200) < 2


def test_draws_of_the_two_are_independent():
    """A quantizer fed the sparsifier's keys would be biased on what is drawn."""
    compressor = jd.compression.quantized(
        jd.compression.atomo(0.25), jd.compression.qsgd(2)
    )
    assert statistics.bias_over_bound(compressor, VECTOR[:20]) < 1


def test_what_cannot_be_composed_is_refused():
    with pytest.raises(ValueError, match="exactly one array of numbers, got scaled"):
        two = jd.compression.quantized(
            jd.compression.top_k(0.1), jd.compression.qsgd(8)
        )._replace(name="scaled")
        jd.compression.quantized(
            two._replace(
                encode=lambda leaf, state, keys, blocks: ((leaf[None],) * 2, state)
            ),
            jd.compression.qsgd(8),
        )
    with pytest.raises(ValueError, match="`quantizer` must have no state"):
        jd.compression.quantized(
            jd.compression.top_k(0.1),
            jd.compression.error_feedback(jd.compression.scaled_sign()),
        )
    for quantizer in (
        jd.compression.scaled_sign(),
        jd.compression.one_bit(),
        jd.compression.eden(4),
    ):
        with pytest.raises(ValueError, match="`quantizer` must keep zeros.* not say"):
            jd.compression.quantized(
                jd.compression.threshold(1.0, max_density=0.2), quantizer
            )
    with pytest.raises(TypeError, match="`quantizer` must be a compressor"):
        jd.compression.quantized(jd.compression.top_k(0.1), 8)
