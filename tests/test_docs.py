"""Every public name is on a page, and the examples of the pages run."""

import importlib.util
import pathlib
import re

import jax
import pytest

import jaxdist
from jaxdist import testing
from tests.contract import table

ROOT = pathlib.Path(__file__).parent.parent


def test_every_public_name_is_documented_once():
    page = (ROOT / "docs" / "api.md").read_text()
    listed = re.findall(r"\.\. auto(?:function|class|data):: ([\w.]+)", page)
    assert len(listed) == len(set(listed))
    public = {
        name
        for name, value in vars(jaxdist).items()
        if not name.startswith("_") and not isinstance(value, type(jaxdist))
    }
    assert set(listed) == public | {
        f"jaxdist.testing.{name}" for name in testing.__all__
    }


def test_every_public_function_says_what_it_communicates():
    kit = {name: getattr(testing, name) for name in testing.__all__}
    for name, value in (vars(jaxdist) | kit).items():
        is_factory = callable(value) and not isinstance(value, type)
        if is_factory and value.__module__.startswith("jaxdist."):
            assert value.__doc__, name
            exempt = {"payload_nbytes"}
            assert "Communication:" in value.__doc__ or name in exempt, name
            assert "Example:" in value.__doc__, name


def run_page(path, capsys):
    """Run the Python of a page in one namespace; return what it printed."""
    names, shown = {}, []
    for language, code in re.findall(
        r"```(python|text)\n(.*?)```", (ROOT / path).read_text(), flags=re.DOTALL
    ):
        if language == "python":
            exec(compile(code, path, "exec"), names)
        else:
            printed = capsys.readouterr().out
            assert without_numbers(printed) == without_numbers(code)
            shown.append(printed)
    return "".join([*shown, capsys.readouterr().out])


def without_numbers(text):
    """Return the words: the last digits differ between machines."""
    return re.sub(r"-?\d[\d.e-]*", "0", " ".join(text.split()))


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("README.md", "total"),
        ("docs/testing.md", "breaks 'unbiasedness'"),
        ("docs/rules.md", "(9, 3)"),
        ("docs/attacks.md", "median()"),
    ],
)
def test_the_examples_of_a_page_run(path, printed, capsys):
    with jax.numpy_rank_promotion("allow"):
        assert printed in run_page(path, capsys)


@pytest.fixture(scope="module")
def contracts():
    """Return the module that writes the tables."""
    path = ROOT / "docs" / "contracts.py"
    spec = importlib.util.spec_from_file_location("contracts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_rule_is_in_the_table_of_rules(contracts):
    listed = {rule.name.split("(")[0] for rule in contracts.RULES}
    assert listed == {row.rule.name.split("(")[0] for row in table.RULES}


def test_every_compressor_is_in_the_table_of_contracts(contracts):
    wrappers = {
        *("contractive", "ef21", "error_feedback", "measured", "momentum_correction"),
    }
    listed = {compressor.name.split("(")[0] for compressor in contracts.ROWS}
    tested = {row.compressor.name.split("(")[0] for row in table.COMPRESSORS}
    assert listed == tested - wrappers
    assert contracts.table().count("\n") == len(contracts.ROWS) + 2
