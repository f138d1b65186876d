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


def test_all_that_is_broken_is_reported_with_what_promises_it():
    wrong = defects.promising(
        defects.decoding(jd.compression.top_k(0.1), defects.scaled(0.5), "halves"),
        "halves",
        unbiased=True,
        aligned=True,
        projection=True,
    )
    properties = ["alignment", "projection", "payload", "unbiasedness"]
    with pytest.raises(AssertionError) as caught:
        testing.check_compressor(wrong, properties=properties, num_draws=1000)
    said = str(caught.value).splitlines()
    assert said[0] == "halves breaks 3 promises."
    for line, field in zip(
        said[1:], ["aligned", "projection", "unbiased"], strict=True
    ):
        assert line.endswith(f"`Contract({field}=True)` promises this.")


def test_what_breaks_the_kit_itself_is_reported():
    def decode(payload, like, keys):
        return jd.compression.identity().decode(payload, like, keys).reshape(-1)[:5]

    wrong = jd.compression.identity()._replace(decode=decode, name="short")
    properties = ["shape_and_dtype", "memory", "variance"]
    sentence = (
        "short breaks 2 promises.*'shape_and_dtype'.*'variance': on .* raised Value"
    )
    with pytest.raises(AssertionError, match=f"(?s){sentence}"):
        testing.check_compressor(wrong, properties=properties)


@pytest.mark.parametrize(
    ("compressor", "shape"),
    [
        (jd.compression.power_sgd(2), (9, 8)),
        (jd.compression.error_feedback(jd.compression.power_sgd(1)), (9, 8)),
        (jd.compression.atomo(0.5, basis="svd"), (9, 8)),
        (jd.compression.top_k(0.1), (61,)),
        (jd.compression.identity(), (61,)),
    ],
    ids=str,
)
def test_what_compresses_matrices_is_tried_on_matrices(compressor, shape):
    report = testing.check_compressor(compressor, properties=["payload"])
    assert f" for {shape[0] * (shape[1] if shape[1:] else 1)} elements" in str(report)
    testing.check_compressor(compressor, properties=["determinism"], shape=(61,))


def test_coordinates_are_not_promised_silently():
    """A rule that compares them refuses a compressor that does not say so."""
    mine = jd.compression.top_k(0.1)._replace(contract=jd.Contract(), name="mine")
    with pytest.raises(ValueError, match=r"mine does not promise `Contract\(aligned=T"):
        jd.aggregate("data", jd.rules.median(), mine)
