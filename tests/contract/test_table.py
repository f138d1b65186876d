"""Every public name stands in a table, or says why not."""

import re

import jaxdist
from tests.contract import table


def test_every_public_name_is_in_a_table():
    rows = [
        *(row.compressor.name for row in table.COMPRESSORS),
        *(row.rule.name for row in table.RULES),
        *(row.name for row in table.TRANSFORMATIONS + table.MORE_ATTACKS),
    ]
    words = set(re.findall(r"\w+", " ".join(rows)))
    words |= {"delay_updates", "inject_attack", "pull_to_leader"}  # by what they do
    public = {name for name in vars(jaxdist) if not name.startswith("_")}
    families = {name for name in public if type(vars(jaxdist)[name]) is type(jaxdist)}
    for name in sorted(public - families):
        assert (name in words) != (name in table.NOT_IN_A_TABLE), name
