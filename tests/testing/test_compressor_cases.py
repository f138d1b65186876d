"""One parameter for each promise."""

import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects

CASES = testing.compressor_cases(
    [jd.compression.top_k(0.2), jd.compression.scaled_sign()],
    properties=["zeros", "payload"],
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, request):
    case.check()
    assert str(case) in request.node.name


def test_a_case_names_compressor_and_property():
    assert [str(case) for case in CASES] == [
        "top_k(0.2)-zeros",
        "top_k(0.2)-payload",
        "scaled_sign()-zeros",
        "scaled_sign()-payload",
    ]


@pytest.mark.parametrize(
    "compressor",
    [jd.compression.top_k(0.2), jd.compression.qsgd(8), jd.compression.random_k(0.5)],
    ids=str,
)
def test_the_cases_are_all_that_a_check_finds_promised(compressor):
    """What is not promised would check nothing, and is no case."""
    report = testing.check_compressor(compressor, num_draws=1000)
    promised = [row.property for row in report.properties if row.promised]
    cases = testing.compressor_cases([compressor], num_draws=1000)
    assert [case.property for case in cases] == promised
    assert len(promised) < len(testing.PROPERTIES)


def test_options_decide_what_is_promised():
    """Workers that draw together, and a bound where the contract has none."""
    together = [defects.bernoulli(worker_key="common")]
    chosen = {"properties": ["independence"]}
    assert not testing.compressor_cases(together, shared_randomness=True, **chosen)
    (case,) = testing.compressor_cases(together, **chosen)
    with pytest.raises(AssertionError, match="breaks 'independence'"):
        case.check()
    unbounded = [defects.promising(together[0], variance=lambda size: np.inf)]
    chosen = {"properties": ["variance"]}
    assert not testing.compressor_cases(unbounded, **chosen)
    (case,) = testing.compressor_cases(unbounded, variance=0.1, **chosen)
    with pytest.raises(AssertionError, match="breaks 'variance'"):
        case.check()


def test_options_reach_the_check():
    (case,) = testing.compressor_cases(
        [jd.compression.identity()], properties="payload", nbytes={100: 1}
    )
    with pytest.raises(AssertionError, match="has 400 bytes, not 1"):
        case.check()


def test_what_is_no_property_or_option_says_so():
    with pytest.raises(ValueError, match="`properties` must be one of"):
        testing.compressor_cases([jd.compression.identity()], properties=["speed"])
    with pytest.raises(ValueError, match="`shape` must be an integer >= 8, got 7"):
        testing.compressor_cases([jd.compression.identity()], shape=(7,))


def test_only_compressors_have_cases():
    with pytest.raises(TypeError, match="`compressors` must be a compressor"):
        testing.compressor_cases([jd.rules.mean()])
