"""Assigned: fragments by a function or a tree."""

import jax.numpy as jnp
import pytest

import jaxdist as jd

PARAMS = {"a": jnp.ones(4), "b": {"c": jnp.ones(1), "d": jnp.ones(2)}}


@pytest.mark.parametrize(
    "choice",
    [
        lambda name, leaf: int(name.startswith("b")),
        lambda name, leaf: int(leaf.size < 4),
        {"a": 0, "b": 1},
        {"a": 0, "b": {"c": 1, "d": 1}},
    ],
)
def test_a_function_or_a_tree(choice):
    assert jd.fragments.assigned(choice).number_leaves(PARAMS) == [0, 1, 1]


def test_one_number_for_all():
    assert jd.fragments.assigned(0).number_leaves(PARAMS) == [0, 0, 0]


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({"a": 0}, "`choice` must be a tree like the parameters"),
        (lambda name, leaf: -1, r"`choice\('a', leaf\)` must be an integer >= 0"),
        (lambda name, leaf: "x", r"`choice\('a', leaf\)` must be an integer >= 0"),
    ],
)
def test_what_does_not_fit_the_parameters(choice, match):
    with pytest.raises(ValueError, match=match):
        jd.fragments.assigned(choice).split(PARAMS)


@pytest.mark.parametrize("choice", [{"a": "x"}, {"a": 1.5}, -1, {}, None])
def test_what_is_no_choice(choice):
    with pytest.raises(ValueError, match="`choice"):
        jd.fragments.assigned(choice)
