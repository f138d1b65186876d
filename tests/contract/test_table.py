"""Every public name stands in a table, or says why not."""

import importlib
import re
import types

import pytest

from tests.contract import table

COMPRESSORS = [row.compressor.name for row in table.COMPRESSORS]
RULES = [row.rule.name for row in table.RULES]
ATTACKS = [attack.name for attack in table.ATTACKS]
LAWS = [law.name for law in table.LAWS]
PROTOCOLS = [protocol.name for protocol in table.PROTOCOLS]
CODES = [code.name for code in table.CODES]
TOPOLOGIES = [topology.name for topology in table.TOPOLOGIES]
TRANSFORMATIONS = [row.name for row in table.TRANSFORMATIONS]
BY_WHAT_THEY_DO = [
    *("delay_updates", "inject_attack", "limit_step_by_distance"),
    *("mix_with_neighbors", "pull_to_center", "pull_to_leader", "scale_by_staleness"),
]
ROWS = {
    "jaxdist": TRANSFORMATIONS + BY_WHAT_THEY_DO,
    "jaxdist.compression": COMPRESSORS + TRANSFORMATIONS,
    "jaxdist.rules": RULES,
    "jaxdist.attacks": ATTACKS,
    "jaxdist.coding": CODES,
    "jaxdist.contrib": [],
    "jaxdist.contrib.symmetry": [],
    "jaxdist.diagnostics": [],
    "jaxdist.fragments": [],
    "jaxdist.gossip": TOPOLOGIES,
    "jaxdist.optimizers": [row.name for row in table.OPTIMIZERS],
    "jaxdist.sgmcmc": TRANSFORMATIONS,
    "jaxdist.sparsity": [],
    "jaxdist.timing": LAWS + PROTOCOLS,
}


def public_names(module_name):
    """Return what completion shows, without the families."""
    module = importlib.import_module(module_name)
    names = [name for name in dir(module) if not name.startswith("_")]
    return [n for n in names if not isinstance(getattr(module, n), types.ModuleType)]


@pytest.mark.parametrize("module_name", ROWS)
def test_every_public_name_is_in_a_table(module_name):
    words = set(re.findall(r"\w+", " ".join(ROWS[module_name])))
    for name in public_names(module_name):
        why = f"add {module_name}.{name} to a table of tests/contract/table.py"
        assert (name in words) != (name in table.NOT_IN_A_TABLE), why


def test_what_is_in_no_table_exists():
    names = {name for module_name in ROWS for name in public_names(module_name)}
    assert set(table.NOT_IN_A_TABLE) <= names
