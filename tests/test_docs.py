"""Every public name is on a page, and the README's example runs."""

import importlib.util
import pathlib
import re

import jax
import pytest

import jaxdist
from tests.contract import table

ROOT = pathlib.Path(__file__).parent.parent


def test_every_public_name_is_documented_once():
    page = (ROOT / "docs" / "api.md").read_text()
    listed = re.findall(r"\.\. auto(?:function|class|data):: (\w+)", page)
    assert len(listed) == len(set(listed))
    public = {
        name
        for name, value in vars(jaxdist).items()
        if not name.startswith("_") and not isinstance(value, type(jaxdist))
    }
    assert set(listed) == public


def test_every_public_function_says_what_it_communicates():
    for name, value in vars(jaxdist).items():
        is_factory = callable(value) and not isinstance(value, type)
        if is_factory and value.__module__.startswith("jaxdist."):
            assert value.__doc__, name
            exempt = {"sign_flip", "gaussian", "payload_nbytes"}
            assert "Communication:" in value.__doc__ or name in exempt, name
            assert "Example:" in value.__doc__, name


@pytest.mark.usefixtures("standard_promotion")
def test_the_readme_example_runs(capsys):
    readme = (ROOT / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    with jax.numpy_rank_promotion("allow"):
        exec(compile(example, "README.md", "exec"), {})
    assert "total" in capsys.readouterr().out


def test_every_compressor_is_in_the_table_of_contracts():
    path = ROOT / "docs" / "contracts.py"
    spec = importlib.util.spec_from_file_location("contracts", path)
    contracts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contracts)
    wrappers = {
        *("contractive", "ef21", "error_feedback", "measured", "momentum_correction"),
    }
    listed = {compressor.name.split("(")[0] for compressor in contracts.ROWS}
    tested = {row.compressor.name.split("(")[0] for row in table.COMPRESSORS}
    assert listed == tested - wrappers
    assert contracts.table().count("\n") == len(contracts.ROWS) + 2
