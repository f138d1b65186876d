"""A value holds inside of the block, also where it ends with an error."""

import contextvars

import pytest

from jaxdist import _context

LEVEL = contextvars.ContextVar("level", default=0)


def test_a_value_ends_with_its_block():
    with _context.assigned(LEVEL, 1):
        with _context.assigned(LEVEL, 2):
            assert LEVEL.get() == 2
        assert LEVEL.get() == 1
    with pytest.raises(KeyError), _context.assigned(LEVEL, 3):
        raise KeyError
    assert LEVEL.get() == 0
