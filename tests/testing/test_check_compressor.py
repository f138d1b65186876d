"""The whole check: what it takes, what it returns, what it does not need."""

import subprocess
import sys

import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


@pytest.mark.parametrize("compressor", defects.HONEST, ids=str)
def test_honest_compressors_pass_everything(compressor):
    report = testing.check_compressor(compressor)
    assert [row.property for row in report.properties] == list(testing.PROPERTIES)
    text = str(report)
    assert text.startswith(f"{compressor.name} keeps its contract (false alarm 1e-06)")
    assert "unbiasedness     416 statistics over 10240 draws each" in text
    assert "accumulate       not promised" in text


def test_properties_are_chosen_by_name_and_checked_in_order():
    report = testing.check_compressor(
        jd.compression.top_k(0.1), properties=["zeros", "payload"]
    )
    assert [row.property for row in report.properties] == ["payload", "zeros"]
    one = testing.check_compressor(jd.compression.top_k(0.1), properties="zeros")
    assert len(one.properties) == 1
    with pytest.raises(
        ValueError, match="`properties` must be one of 'shape_and_dtype'"
    ):
        testing.check_compressor(jd.compression.top_k(0.1), properties=["speed"])


def test_matrices_and_whole_leaves():
    whole = defects.promising(jd.compression.top_k(0.1), "whole", splittable=False)
    report = testing.check_compressor(whole, shape=(9, 7), nbytes={100: 50})
    assert "63 elements" in str(report)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_draws": 10}, "`num_draws` must be an integer >= 1000, got 10"),
        ({"false_alarm": 0.9}, r"`false_alarm` must lie in \[1e-09, 0.5\], got 0.9"),
        ({"shape": (7,)}, "`shape` must be an integer >= 8, got 7"),
        ({"seed": -1}, "`seed` must be an integer >= 0, got -1"),
    ],
)
def test_arguments_have_ranges(options, match):
    with pytest.raises(ValueError, match=match):
        testing.check_compressor(jd.compression.identity(), **options)
    with pytest.raises(TypeError, match="must be a compressor"):
        testing.check_compressor(jd.compression.by_leaf(jd.compression.identity()))


def test_the_cause_of_an_error_is_kept():
    def fail(leaf):
        raise ZeroDivisionError("on purpose")

    failing = defects.encoding(jd.compression.identity(), fail, "fails")
    with pytest.raises(
        AssertionError, match="fails breaks 'zeros': .* on purpose"
    ) as e:
        testing.check_compressor(failing, properties=["zeros"])
    assert isinstance(e.value.__cause__, ZeroDivisionError)


def test_the_library_needs_neither_hypothesis_nor_pytest():
    program = """
import sys
sys.modules["hypothesis"] = sys.modules["pytest"] = None  # importing them fails
import jaxdist
jaxdist.testing.check_compressor(jaxdist.compression.identity(), properties=["payload"])
try:
    jaxdist.testing.leaves
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pip install hypothesis" in done.stdout


def test_public_names_are_listed_and_there():
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'check_everything'"):
        _ = testing.check_everything
