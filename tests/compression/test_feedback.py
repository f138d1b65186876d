"""Which compressors a memory can wrap."""

import pytest

import jaxdist as jd
from jaxdist.compression import _feedback

MEMORIES = [
    jd.compression.error_feedback,
    jd.compression.ef21,
    jd.compression.momentum_correction,
]


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(
    "inner",
    [
        jd.compression.random_k(0.1),
        jd.compression.qsgd(2),
        jd.compression.qsgd(4, None),
    ],
)
def test_what_does_not_contract_is_refused_with_the_way_out(memory, inner):
    with pytest.raises(ValueError, match="no contraction.*contractive"):
        memory(inner)
    memory(jd.compression.contractive(inner))


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_memory_of_differences_is_refused(memory):
    with pytest.raises(ValueError, match="nothing to remember"):
        memory(jd.compression.ef21(jd.compression.top_k(0.1)))


@pytest.mark.parametrize("outer", MEMORIES)
@pytest.mark.parametrize("inner", [MEMORIES[0], MEMORIES[2]])
def test_a_second_memory_is_refused_whatever_stands_between(outer, inner):
    """What the inner one kept would be added by both, at every step again."""
    once = inner(jd.compression.top_k(0.1))
    for compressor in (once, jd.compression.measured(once)):
        with pytest.raises(ValueError, match="remembers already.*Use one memory"):
            outer(compressor)


@pytest.mark.parametrize("memory", MEMORIES)
def test_what_is_rounded_after_a_memory_would_be_lost(memory):
    remembering = memory(jd.compression.top_k(0.1))
    with pytest.raises(ValueError, match="remembers already.*quantized around it"):
        jd.compression.quantized(remembering, jd.compression.qsgd(8))
    inside = jd.compression.quantized(
        jd.compression.top_k(0.1), jd.compression.qsgd(8, norm="max")
    )
    assert memory(inside).remembers


def test_the_bound_may_depend_on_the_size():
    c = jd.compression.top_k(0.1)._replace(
        contract=jd.Contract(variance=lambda size: 2.0 if size < 10 else 0.5)
    )
    _feedback.check_contraction(c, 10)
    _feedback.check_contraction(c, 0)
    with pytest.raises(ValueError, match="blocks of 9 elements"):
        _feedback.check_contraction(c, 9)
    with pytest.raises(ValueError, match="such as top_k or scaled_sign"):
        _feedback.check_contraction(c, 9)
