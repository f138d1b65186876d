"""The quick run finds the tests of what changed."""

import pathlib

import pytest

from tests import conftest, quick


@pytest.mark.parametrize(
    ("changed", "files", "names"),
    [
        ("jaxdist/rules/_krum.py", ["tests/rules/test_krum.py"], ["krum"]),
        ("jaxdist/_tree.py", ["tests/test_tree.py"], []),
        (
            "jaxdist/rules/numerics/_far.py",
            ["tests/rules/numerics/test_far.py"],
            [],
        ),
        ("tests/rules/test_krum.py", ["tests/rules/test_krum.py"], []),
        ("tests/harness.py", [], []),
        ("jaxdist/rules/__init__.py", [], []),
        ("docs/design.md", [], []),
        ("benchmarks/table.py", [], []),
    ],
)
def test_a_file_has_tests_and_rows(changed, files, names):
    assert quick.tests_of_changes([pathlib.Path(changed)]) == (files, names)


def test_a_name_has_tests_and_rows():
    assert quick.tests_of_name("krum") == (["tests/rules/test_krum.py"], ["krum"])
    assert quick.tests_of_name("nothing") == ([], ["nothing"])


@pytest.mark.parametrize(
    ("row", "names", "chosen"),
    [
        ("top_k(0.1, 30)-payload", ["top_k"], True),
        ("7-krum(2)", ["mean", "krum"], True),
        ("aggregate-krum-gather", ["krum"], True),
        ("attack-gaussian", ["gaussian"], True),
        ("AxisType.Auto-aggregate-top_k", ["top_k"], True),
        ("multi_krum(2)", ["krum"], False),
        ("nnm(2) then krum(2)", ["krum"], False),
        ("error_feedback(top_k(0.1), 1.0)-payload", ["top_k"], False),
        ("aggregate-dense", ["aggregate"], False),
    ],
)
def test_a_row_is_of_what_its_name_begins_with(row, names, chosen):
    assert conftest.is_row_of(row, names) == chosen
