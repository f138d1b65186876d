"""Masks are read once, and found by the names of their leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import _masks

MASKS = _masks.read_masks({"kernel": jnp.ones((2, 3), bool), "bias": None})


def test_masks_are_found_by_name():
    assert _masks.find_mask(MASKS, "bias", jnp.ones(3)) is None
    assert isinstance(_masks.find_mask(MASKS, "kernel", jnp.ones((2, 3))), np.ndarray)


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        ({"kernel": np.ones((12, 5))}, r"leaf 'kernel' must be an array of bools"),
        ({"kernel": [True, False]}, r"leaf 'kernel/0' must be .*, got True"),
        (3, r"leaf '' must be .*, got 3"),
    ],
)
def test_masks_are_arrays_of_bools(mask, found):
    with pytest.raises(TypeError, match=f"`mask` {found}"):
        _masks.read_masks(mask)


def test_masks_are_known_when_the_program_is_compiled():
    with pytest.raises(TypeError, match="known while the program is compiled"):
        jax.eval_shape(_masks.read_masks, jnp.ones(3, bool))


def test_a_mask_for_nothing_is_none():
    with pytest.raises(ValueError, match="`mask` must hold an array .* got None"):
        _masks.read_masks(None)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("other", "`mask` must have a leaf 'other', .* got 'bias', 'kernel'"),
        ("kernel", r"`mask` leaf 'kernel' must have .* \(3, 2\), got a mask of \(2, 3"),
    ],
)
def test_each_leaf_needs_its_mask(name, found):
    with pytest.raises(ValueError, match=found):
        _masks.find_mask(MASKS, name, jnp.ones((3, 2)))
