"""Workers that draw together what they should draw apart."""

import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def check(compressor, **options):
    return testing.check_compressor(compressor, properties=["independence"], **options)


@pytest.mark.parametrize("compressor", defects.HONEST, ids=str)
def test_own_keys_are_independent(compressor):
    assert check(compressor).properties[0].promised


def test_common_keys_are_found_unless_they_are_meant():
    shared = defects.bernoulli(worker_key="common")
    with pytest.raises(
        AssertionError, match="draw from `keys.common` what each should"
    ):
        check(shared)
    assert not check(shared, shared_randomness=True).properties[0].promised


def test_so_are_half_common_ones():
    """Shared elements, rounded with keys of one's own."""
    apart = jd.compression.qsgd(4)
    masked = jd.compression.contractive(jd.compression.random_k(0.5))

    def encode(leaf, state, keys, blocks):
        payload, _ = masked.encode(leaf, (), keys, blocks)
        kept = masked.decode(payload, leaf, keys)
        return apart.encode(kept, state, keys, blocks)

    both = apart._replace(encode=encode, name="both")
    with pytest.raises(AssertionError, match="the errors of two workers"):
        check(defects.promising(both, "both", unbiased=False))


def test_linear_and_deterministic_compressors_promise_nothing_here():
    for compressor in (jd.compression.random_k(0.1), jd.compression.top_k(0.1)):
        assert not check(compressor).properties[0].promised
