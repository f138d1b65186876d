"""MoNNA: around the worker that is trusted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.rules import golden

ROWS = jnp.array([[1.0], [2.0], [3.0], [5.0], [-100.0], [-101.0], [-102.0]])


@pytest.mark.parametrize(
    ("trusted", "expected"), [(0, 2.75), (3, 2.75), (6, -303 / 4 + 0.25)]
)
def test_each_trusts_itself(trusted, expected):
    np.testing.assert_allclose(
        jax.jit(jd.rules.monna(3, trusted))(ROWS), [expected], rtol=1e-6
    )


def test_other_implementation():
    got = jax.jit(jd.rules.monna(3, trusted=4))(golden.ROWS)
    np.testing.assert_allclose(got, golden.WITHOUT_THE_LAST, rtol=1e-5)


def test_the_trusted_comes_first_among_equals():
    rows = jnp.zeros((5, 2))
    weights, _ = jd.rules.monna(2, trusted=4).mix(
        jd.rules.Radii.of(rows, rows[4]), None, ()
    )
    # The last is that of the copy with which all are compared.
    np.testing.assert_allclose(weights, [[1 / 3, 1 / 3, 0, 0, 1 / 3, 0]], rtol=1e-6)


def test_a_trusted_worker_that_is_not_finite_leaves_nothing():
    np.testing.assert_array_equal(
        jax.jit(jd.rules.monna(2))(ROWS.at[0].set(jnp.nan)), [0.0]
    )


def test_the_trusted_must_exist():
    with pytest.raises(ValueError, match=r"`trusted` must be in \[0, 6\], got 7"):
        jd.rules.monna(2, 7)(ROWS)
    with pytest.raises(ValueError, match="`trusted` must be .* got -1"):
        jd.rules.monna(2, -1)
