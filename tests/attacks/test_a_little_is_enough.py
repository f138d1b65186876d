"""A little is enough: the shift, its formula, and where the formula fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.attacks import _a_little_is_enough
from tests.attacks import cases


@pytest.mark.parametrize(
    ("num_workers", "num_byzantine", "shift"),
    [
        (10, 1, -0.140),
        (10, 2, 0.0),
        (12, 2, 0.0),
        (16, 3, 0.097),
        (20, 4, 0.157),
        (20, 9, 0.909),
        (25, 11, 1.068),
        (50, 24, 1.426),
        (60, 18, 0.497),
        (64, 12, 0.243),
    ],
)
def test_table_of_the_formula(num_workers, num_byzantine, shift):
    actual = _a_little_is_enough.hidden_deviations(num_workers, num_byzantine)
    assert actual == pytest.approx(shift, abs=6e-4)


@pytest.mark.parametrize("shift", [1.5, -0.7, 0.0])
def test_shifts_by_deviations(shift):
    honest, bad = cases.attacked(jd.attacks.a_little_is_enough(shift))
    cases.assert_all_send(bad, honest.mean(axis=0) - shift * honest.std(axis=0))


def test_shifts_by_the_formula():
    honest, bad = cases.attacked(jd.attacks.a_little_is_enough(), num_byzantine=3)
    shift = _a_little_is_enough.hidden_deviations(9, 3)
    cases.assert_all_send(bad, honest.mean(axis=0) - shift * honest.std(axis=0))


def test_enough_honest_workers_lie_farther_out():
    """With the supporters that the formula counts, the attackers are a majority."""
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.standard_normal((50, 400)), jnp.float32)
    honest, bad = cases.attacked(jd.attacks.a_little_is_enough(), rows, 20)
    farther_out = np.mean(np.sum(honest < bad[0], axis=0))
    assert farther_out == pytest.approx(50 // 2 + 1 - 20, abs=0.5)


@pytest.mark.parametrize(
    ("num_workers", "num_byzantine", "shift"),
    [(10, 1, "-0.14"), (10, 2, "0"), (8, 5, "inf")],
)
def test_without_a_positive_shift_it_must_be_given(num_workers, num_byzantine, shift):
    rows = jnp.ones((num_workers, 2))
    message = f"`num_deviations` must be given.*{num_byzantine} attackers.*{shift}.$"
    with pytest.raises(ValueError, match=message):
        jd.attacks.a_little_is_enough()(rows, num_byzantine)
    jax.jit(jd.attacks.a_little_is_enough(1.5), static_argnums=1)(rows, num_byzantine)


@pytest.mark.parametrize("shift", [np.inf, np.nan, "1"])
def test_shift_is_a_number(shift):
    with pytest.raises(ValueError, match="`num_deviations` must lie in"):
        jd.attacks.a_little_is_enough("nan" if shift == "1" else shift)
