"""Every public name is on its pages, and the examples of the pages run."""

import importlib.util
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from benchmarks.byzantine import grid
from jaxdist import testing
from tests.contract import table

ROOT = pathlib.Path(__file__).parent.parent


def load_tables():
    """Return the module that writes tables and the pages of the API."""
    path = ROOT / "docs" / "tables.py"
    spec = importlib.util.spec_from_file_location("tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tables = load_tables()
# Where users find out what a function is for; the API pages say how to call it.
PAGES = {
    "jaxdist": sorted(path.name for path in (ROOT / "docs").glob("[!_]*.md")),
    "jaxdist.attacks": ["attacks.md"],
    "jaxdist.coding": ["coding.md", "shuffling.md"],
    "jaxdist.compression": [
        *("compression.md", "low_rank.md", "memory.md", "quantizers.md"),
        "sparsifiers.md",
    ],
    "jaxdist.contrib": ["representatives.md"],
    "jaxdist.contrib.symmetry": ["symmetry.md"],
    "jaxdist.diagnostics": ["diversity.md"],
    "jaxdist.fragments": ["rounds.md"],
    "jaxdist.gossip": ["gossip.md"],
    "jaxdist.optimizers": ["optimizers.md"],
    "jaxdist.rules": ["rules.md"],
    "jaxdist.sgmcmc": ["sampling.md"],
    "jaxdist.sparsity": ["sparsity.md"],
    "jaxdist.testing": ["rules.md", "sampling.md", "testing.md"],
    "jaxdist.timing": ["time.md"],
}


def functions(module_name):
    """Return the public functions of a module: verbs and factories."""
    names = tables.public_names(module_name)
    return {name: value for name, value in names.items() if inspect.isroutine(value)}


def in_code(text):
    """Return the words between backticks, and in code."""
    spans = re.findall(r"```.*?```|`[^`]*`", text, flags=re.DOTALL)
    return set(re.findall(r"\w+", " ".join(spans)))


@pytest.mark.parametrize("module_name", tables.MODULES)
def test_every_public_name_is_documented_once(module_name):
    page = tables.api_page(module_name)
    listed = re.findall(r"\.\. auto(?:function|class|data):: (\w+)", page)
    assert len(listed) == len(set(listed))
    assert set(listed) == set(tables.public_names(module_name))
    assert f"api/{module_name}" in (ROOT / "docs" / "api.md").read_text()


@pytest.mark.parametrize("module_name", tables.MODULES)
def test_every_public_function_says_what_it_communicates(module_name):
    for name, value in functions(module_name).items():
        assert value.__doc__, name
        assert "Communication:" in value.__doc__ or name == "payload_nbytes", name
        assert "Example:" in value.__doc__, name


@pytest.mark.parametrize("module_name", tables.MODULES)
def test_every_public_function_is_in_the_readme(module_name):
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## What is there")[1].split("\n## ")[0]
    missing = functions(module_name).keys() - in_code(section)
    assert not missing, f"name them under 'What is there': {sorted(missing)}"


@pytest.mark.parametrize("module_name", tables.MODULES)
def test_every_public_function_is_on_a_page_of_its_family(module_name):
    pages = [(ROOT / "docs" / page).read_text() for page in PAGES[module_name]]
    missing = functions(module_name).keys() - in_code("\n".join(pages))
    assert not missing, f"name them in {PAGES[module_name]}: {sorted(missing)}"


@pytest.mark.parametrize("module_name", tables.MODULES)
def test_every_public_function_is_in_the_changelog(module_name):
    missing = functions(module_name).keys() - in_code(
        (ROOT / "CHANGELOG.md").read_text()
    )
    assert not missing, f"name them under 'Unreleased': {sorted(missing)}"


def test_the_table_of_floors_is_the_one_that_is_enforced():
    rooms = [room for floor in tables.floors().FLOORS for room in floor]
    assert re.findall(r"`(\w+)(?:/|\.py)`", tables.floor_table()) == rooms
    assert "```{include} _floors.md" in (ROOT / "docs" / "design.md").read_text()


def test_the_design_page_is_short_and_names_files_that_exist():
    page = (ROOT / "docs" / "design.md").read_text()
    assert page.count("\n") <= 120
    for row in re.findall(r"^\|.*\| (`\w+/.*`) \|$", page, re.MULTILINE):
        folder = ""
        for path in re.findall(r"`([\w/]+\.py)`", row):
            folder = path.rpartition("/")[0] or folder
            file = ROOT / "jaxdist" / folder / path.rpartition("/")[2]
            assert file.exists(), f"docs/design.md names {path}, which does not exist"


def test_the_first_example_is_short():
    code = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 15


def test_lines_of_code_on_pages_fit_a_screen():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for code in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
            long = [line for line in code.splitlines() if len(line) > 88]
            assert not long, f"{path.name}: {long}"


def test_the_skeletons_keep_their_contracts():
    names = {}
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        assert len(code.splitlines()) <= 60
        if "\ndef " in code:
            exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    testing.check_compressor(names["halve"](), nbytes={100: 400})
    testing.check_rule(names["medoid"]())
    sent = names["silence"]()(jnp.array([1.0, 2.0]), num_byzantine=1)
    np.testing.assert_array_equal(sent, [1, 0])
    tx, updates = names["wait_updates"](1), jnp.ones(2)
    seen, state = tx.update(updates, tx.init(updates))
    np.testing.assert_array_equal(seen, [0, 0])
    np.testing.assert_array_equal(tx.update(updates, state)[0], [1, 1])


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
        ("docs/coding.md", "after 4.0 s: 15.0"),
        ("docs/frameworks.md", "pmap: True"),
        ("docs/diversity.md", "up to"),
        ("docs/gossip.md", "spectral gap"),
        ("docs/representatives.md", "off by"),
        ("docs/pods.md", "'dcn': 530"),
        ("docs/optimizers.md", "28"),
        ("docs/quickstart.md", "total"),
        ("docs/rounds.md", "(32,) (1000, 3)"),
        ("docs/sampling.md", "one message of"),
        ("docs/shuffling.md", "True"),
        ("docs/symmetry.md", "squared norm"),
        ("docs/time.md", "(8, 3) [1. 1. 1.]"),
    ],
)
def test_the_examples_of_a_page_run(path, printed, capsys):
    with jax.numpy_rank_promotion("allow"):
        assert printed in run_page(path, capsys)


def test_every_rule_is_in_the_table_of_rules():
    listed = {rule.name.split("(")[0] for rule in tables.RULES}
    tested = {row.rule.name.split("(")[0] for row in table.RULES}
    assert listed == tested, "list it in RULES of docs/tables.py"


def test_every_compressor_is_in_the_table_of_contracts():
    wrappers = {
        *("contractive", "ef21", "error_feedback", "measured", "momentum_correction"),
    }
    listed = {compressor.name.split("(")[0] for compressor in tables.ROWS}
    tested = {row.compressor.name.split("(")[0] for row in table.COMPRESSORS}
    assert listed == tested - wrappers, "list it in ROWS of docs/tables.py"
    assert tables.table().count("\n") == len(tables.ROWS) + 2


def balanced_call(text):
    """Return the call with which a text begins, up to its last parenthesis."""
    depth = 0
    for end, letter in enumerate(text, 1):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == ")" and not depth:
            return text[:end]
    raise AssertionError(f"a call without an end: {text[:80]!r}")


def compositions():
    """Return all rules before rules that pages, docstrings and studies use, f = 2."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.*")]
    sources = [*pages, *(ROOT / "jaxdist" / "rules").glob("*.py")]
    text = "\n".join(path.read_text() for path in sources if path.suffix != ".png")
    names = vars(jd.rules) | {"jaxdist": jd, "jd": jd, "f": 2, "_F": 2}
    found = [rule(2) for rule in grid.RULES.values()]
    begin = r"(?:(?:jd|jaxdist)\.rules\.)?\b(?:arc|nnm|bucketing|clipping)\("
    for match in re.finditer(begin, text):
        call = balanced_call(text[match.start() :])
        if "then=" in call:
            found.append(eval(call, names))
    unique = {kind_name(rule): rule for rule in found if "then" in rule.name}
    known = {kind_name(row.rule) for row in table.RULES}  # the kit tries these
    return {name: unique[name] for name in sorted(unique.keys() - known)}


def kind_name(rule):
    """Return the name of a rule as that of its kind."""
    return re.sub(r"\(.*?\)", "", rule.name)


COMPOSITIONS = compositions()


def test_compositions_are_found():
    assert {"arc then mean", "arc then smea"} <= COMPOSITIONS.keys()


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_what_the_docs_compose_keeps_its_contract(name):
    # Constants of rules behind rules are proved of any; to search takes a minute each.
    left_out = {"float64", "kappa"}
    promises = [name for name in testing.RULE_PROPERTIES if name not in left_out]
    testing.check_rule(COMPOSITIONS[name], properties=promises)
