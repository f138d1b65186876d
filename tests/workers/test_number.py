"""Where no axis is mapped, errors say how to make a state that depends on W."""

import pytest

from jaxdist import _collectives
from jaxdist.workers import _number


def test_says_what_depends_on_it_and_what_to_do():
    match = "'w'.*It has rows, so the number of workers must be known.*jaxdist.init"
    with pytest.raises(NameError, match=match), _number.wanted_number("It has rows"):
        _collectives.axis_size("w")


def test_other_errors_pass():
    with pytest.raises(ValueError, match="other"), _number.wanted_number("It"):
        raise ValueError("other")
