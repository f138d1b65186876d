"""Argument checks name the argument, the range and what came."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import _checks


@pytest.mark.parametrize("value", [3, np.int64(3), jnp.int32(3)])
def test_integer_accepts_whole_numbers(value):
    assert _checks.integer("n", value, 1, 5) == 3


@pytest.mark.parametrize("value", [0, 6, 2.0, "3", None, True])
def test_integer_refuses(value):
    with pytest.raises(ValueError, match=rf"`n` must be in \[1, 5\], got {value!r}"):
        _checks.integer("n", value, 1, 5)


def test_integer_says_what_to_do_with_a_traced_value():
    def factory(n):
        return _checks.integer("n", n, 0)

    with pytest.raises(ValueError, match="static_args='n'"):
        jax.jit(factory)(3)


@pytest.mark.parametrize("value", [0.0, 1, jnp.float32(0.5)])
def test_real_accepts_its_range(value):
    _checks.real("x", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "a", None, True])
def test_real_refuses(value):
    with pytest.raises(ValueError, match=r"`x` must lie in \[0.0, 1.0\], got"):
        _checks.real("x", value, 0.0, 1.0)


def test_real_can_leave_out_the_lower_end_and_never_takes_infinity():
    with pytest.raises(ValueError, match=r"`x` must lie in \(0.0, inf\), got 0.0"):
        _checks.real("x", 0.0, 0.0, above=True)
    with pytest.raises(ValueError, match="got inf"):
        _checks.real("x", float("inf"), 0.0)


def test_real_lets_traced_values_pass():
    jax.jit(lambda x: _checks.real("x", x, 0.0, 1.0))(7.0)


def test_one_of():
    _checks.one_of("route", "a", ("a", "b"))
    with pytest.raises(ValueError, match="`route` must be one of 'a', 'b', got 'c'"):
        _checks.one_of("route", "c", ("a", "b"))


@pytest.mark.parametrize("value", ["a", ("a",), ("a", "b")])
def test_axis_name_accepts(value):
    _checks.axis_name(value)


@pytest.mark.parametrize("value", [None, 0, (), ("a", "a"), ["a"], ("a", 1)])
def test_axis_name_refuses(value):
    with pytest.raises(ValueError, match="`axis_name` must be"):
        _checks.axis_name(value)


def test_instance():
    _checks.instance("n", 1, int, "1")
    with pytest.raises(TypeError, match="`n` must be of type int, such as 1, got 'a'"):
        _checks.instance("n", "a", int, "1")


def test_byzantine_count():
    _checks.byzantine_count("krum", 2, 8, 2)
    with pytest.raises(
        ValueError, match=r"`num_byzantine`.*\[0, 2\].*8 workers, got 3"
    ):
        _checks.byzantine_count("krum", 3, 8, 2)
    with pytest.raises(ValueError, match="needs more workers than the 2"):
        _checks.byzantine_count("krum", 0, 2, -1)


def test_schedules_are_functions_of_the_count():
    count = jnp.asarray(3, jnp.int32)
    for value, wanted in ((0.5, 0.5), (lambda n: 2 * n, 6.0)):
        found = _checks.schedule("rate", value)(count)
        assert found == wanted and found.dtype == jnp.float32
    with pytest.raises(ValueError, match="`rate` must .*got -1"):
        _checks.schedule("rate", -1)
    with pytest.raises(ValueError, match="`rate` must .*got 0"):
        _checks.schedule("rate", 0, above=True)


def test_names():
    for value in (None, [], ("a", "b")):
        _checks.names("order", value)
    for value in ("ab", 3, ["a", 3]):
        with pytest.raises(TypeError, match="`order` must be a sequence of names, got"):
            _checks.names("order", value)
