"""Memories: right ones of every kind, and what wrong ones are told."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def check(compressor, **options):
    return testing.check_compressor(compressor, properties=["memory"], **options)


@pytest.mark.parametrize(
    ("compressor", "found"),
    [
        (defects.remembering(), "1 of what was dropped"),
        (defects.HONEST_MEMORIES[1], "0.9 of what was dropped"),
        (defects.estimating(1.0), "the sender's copy over 64 steps"),
        (jd.compression.top_k(0.1), "no state"),
        (jd.compression.threshold(1.0, max_density=0.2), "nothing of the leaf before"),
        (
            jd.compression.error_feedback(jd.compression.identity()),
            "nothing is dropped",
        ),
        (
            jd.compression.error_feedback(
                jd.compression.threshold(1.0, max_density=0.2)
            ),
            "1 of what was dropped",
        ),
        (
            jd.compression.momentum_correction(
                jd.compression.scaled_sign(), 0.9, masking=False
            ),
            "what was dropped, in the state",
        ),
    ],
    ids=str,
)
def test_right_memories_pass(compressor, found):
    assert check(compressor).properties[0].detail == found


def test_schedules_of_what_is_remembered_pass():
    feedback = jd.compression.error_feedback(
        jd.compression.top_k(0.1),
        learning_rate=lambda count: 0.1 / (1 + count.astype(jnp.float32)),
    )
    check(feedback)


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        (lambda w, s, old: 1.05 * (w - s), "1.05 times what was dropped is added"),
        (lambda w, s, old: w, "what was dropped is not sent later"),
        (lambda w, s, old: jnp.zeros_like(old), "of the leaf's shape stays zero"),
    ],
)
def test_wrong_memories_are_told_what_to_keep(keep, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check(defects.remembering(keep))
