"""Aksel: nearest to a vector that no worker sent, on every route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.contract import oracles

ROWS = np.random.default_rng(0).standard_normal((8, 21)).astype(np.float32)


@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_the_median_is_found_part_by_part(route):
    tx = jd.aggregate(harness.AXIS, jd.rules.aksel(2, 3), route=route)
    tree = {"one": jnp.asarray(ROWS[:, :5]), "other": jnp.asarray(ROWS[:, 5:])}
    merged = harness.run(lambda x: tx.update(x, tx.init(x))[0], "shard_map", tree)
    got = np.concatenate([merged["one"][0], merged["other"][0]])
    expected = oracles.nearest_to(oracles.median, lambda n: 3)(ROWS)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_behind_a_pre_aggregation():
    rule = jax.jit(jd.rules.nnm(2, then=jd.rules.aksel(2)))
    np.testing.assert_allclose(
        jax.jit(rule)(ROWS + 5), jax.jit(rule)(ROWS) + 5, rtol=1e-5
    )


def test_the_number_selected_has_a_range():
    with pytest.raises(ValueError, match=r"`num_selected` must be in \[1, 6\], got 7"):
        jd.rules.aksel(2, 7)(ROWS)
    with pytest.raises(ValueError, match="`num_selected` must be .* got 0"):
        jd.rules.aksel(2, 0)


def test_it_takes_no_anchor():
    with pytest.raises(ValueError, match=r"`anchor` must be None for aksel\(2\)"):
        jd.rules.aksel(2)(ROWS, anchor=ROWS[0])
