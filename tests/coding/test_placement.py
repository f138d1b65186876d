"""Placements: even blocks, and draws that are the same everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.coding import _placement


@pytest.mark.parametrize(("units", "blocks"), [(10, 3), (7, 7), (1, 1), (1797, 50)])
def test_blocks_differ_by_at_most_one_unit(units, blocks):
    sizes = _placement.even_sizes(units, blocks)
    assert sizes.sum() == units and len(sizes) == blocks
    assert sizes.max() - sizes.min() <= 1


def test_more_blocks_than_units():
    with pytest.raises(ValueError, match="`num_units` must be an integer >= 3, got 2"):
        _placement.even_sizes(2, 3)


def test_draws_do_not_depend_on_where():
    plain = _placement.drawn_uniforms(3, "a", (100,))
    for key in (jax.random.key(3), jnp.int32(3), jax.random.PRNGKey(3)):
        np.testing.assert_array_equal(
            _placement.drawn_uniforms(key, "a", (100,)), plain
        )
    with jax.enable_x64(True):
        np.testing.assert_array_equal(_placement.drawn_uniforms(3, "a", (100,)), plain)
    assert 0 <= plain.min() and plain.max() < 1 and abs(plain.mean() - 0.5) < 0.1
    assert np.any(_placement.drawn_uniforms(3, "b", (100,)) != plain)
    assert np.any(_placement.drawn_uniforms(4, "a", (100,)) != plain)


def test_codes_can_be_made_while_a_program_is_traced():
    @jax.jit
    def program(times):
        return jd.coding.batched_coupons(12, 50, 15).finish_time(times)

    assert program(jnp.ones(12)) == 1


def test_loads_come_as_any_row_of_integers():
    for loads in ([1, 4], (1, 4), np.array([1, 4], np.uint8), jnp.array([1, 4])):
        np.testing.assert_array_equal(_placement.worker_loads(loads, 4), [1, 4])
    with pytest.raises(ValueError, match=r"`loads` .* in \[1, 3\].*got \[1, 4\]"):
        _placement.worker_loads([1, 4], 3)
