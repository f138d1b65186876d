"""Bad arguments are refused by the function that gets them, by name."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxdist as jd
from tests.contract import arguments, table

ROWS = list(arguments.rows())


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_is_not_taken_is_named(row):
    if row.argument in arguments.NOT_CHECKED:
        return
    assert row.argument in arguments.BAD, "say in arguments.py what it does not take"
    for value in arguments.bad_values(row):
        with pytest.raises((ValueError, TypeError)) as caught:
            arguments.call(row, value)
            pytest.fail(f"{row.name} takes {value!r}")
        said = str(caught.value)
        assert re.search(rf"`{row.argument}\b.*\bgot\b", said, re.DOTALL), (value, said)


def test_no_row_is_idle():
    used = {row.argument for row in ROWS}
    assert set(arguments.BAD) | set(arguments.NOT_CHECKED) <= used
    pairs = {(row.function.__name__, row.argument) for row in ROWS}
    assert set(arguments.SPECIAL) | set(arguments.MEANS_SOMETHING) <= pairs
