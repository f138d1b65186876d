"""One parameter for each promise."""

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
    assert len(testing.compressor_cases([jd.compression.identity()])) == len(
        testing.PROPERTIES
    )


def test_options_reach_the_check():
    (case,) = testing.compressor_cases(
        [defects.bernoulli(worker_key="common")],
        properties=["independence"],
        shared_randomness=True,
    )
    assert not case.check().properties[0].promised
    with pytest.raises(AssertionError, match="breaks 'independence'"):
        case._replace(options={}).check()


def test_only_compressors_have_cases():
    with pytest.raises(TypeError, match="`compressors` must be a compressor"):
        testing.compressor_cases([jd.rules.mean()])
