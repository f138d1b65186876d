"""Random units: loads are kept, and what planned loads save."""

import jax
import numpy as np
import pytest

import jaxdist as jd


def test_workers_hold_different_units():
    loads = [1, 5, 9, 10]
    code = jd.coding.random_units(loads, 10)
    np.testing.assert_array_equal(code.loads, loads)
    np.testing.assert_array_equal(code.num_messages, loads)
    np.testing.assert_array_equal(code.block_sizes, 1)


def test_units_are_drawn_evenly():
    """Each of ten units in 500 x 3 of 10 draws: within five standard deviations."""
    code = jd.coding.random_units([3] * 500, 10)
    holders = code.placement.sum(axis=0)
    np.testing.assert_allclose(holders, 150, atol=5 * np.sqrt(500 * 0.3 * 0.7))


def test_placements_that_do_not_cover_are_refused():
    with pytest.raises(ValueError) as caught:
        jd.coding.random_units([2, 2], 4, key=0)
    said = str(caught.value)
    assert "`key` must draw a placement that covers all 4 blocks" in said
    assert "probability 0.167" in said and "larger `loads`" in said  # 1 of 6
    assert not jd.coding.random_units([2, 2], 4, must_cover=False).covers


SHIFT, SLOW, FAST = 20.0, 1.0, 20.0
RATES = np.array([SLOW] * 95 + [FAST] * 5)
UNITS = 500


def finish_times(rng, loads, num_rounds):
    """Return seconds of workers: at least 20 for a unit, and a random time."""
    random = rng.exponential(size=(num_rounds, len(loads)))
    return (loads * (SHIFT + random / RATES)).astype(np.float32)


def test_planned_loads_are_faster_than_even_ones():
    """30 placements that cover, 20 rounds each: mean times within 2 %."""
    plan = jd.coding.optimal_loads([SHIFT] * 100, RATES, UNITS)
    rng = np.random.default_rng(0)
    even = finish_times(rng, UNITS * RATES / RATES.sum(), 2000).max(axis=1).mean()
    codes = (
        jd.coding.random_units(plan.loads, UNITS, key, must_cover=False)
        for key in range(60)
    )
    codes = [code for code in codes if code.covers][:30]
    coded = np.mean(
        [
            jax.jit(jax.vmap(code.finish_time))(finish_times(rng, plan.loads, 20))
            for code in codes
        ]
    )
    assert len(codes) == 30
    assert even == pytest.approx(1031.4, rel=0.01)
    assert coded == pytest.approx(728.1, rel=0.02)
    assert 1 - coded / even == pytest.approx(0.294, abs=0.02)


def test_almost_half_of_such_placements_leave_a_unit_out():
    """200 placements: within four standard deviations, 0.14, of the exact share."""
    plan = jd.coding.optimal_loads([SHIFT] * 100, RATES, UNITS)
    chance = jd.coding.cover_probability(100, UNITS, plan.loads)
    assert 1 - chance == pytest.approx(0.472, abs=0.001)
    drawn = [
        jd.coding.random_units(plan.loads, UNITS, key, must_cover=False).covers
        for key in range(200)
    ]
    assert np.mean(drawn) == pytest.approx(chance, abs=0.14)


@pytest.mark.parametrize(("more", "failures"), [(1.10, 0.29), (1.25, 0.11)])
def test_larger_loads_cover_more_often(more, failures):
    total = more * UNITS * np.log(UNITS)
    plan = jd.coding.optimal_loads([SHIFT] * 100, RATES, UNITS, total)
    chance = jd.coding.cover_probability(100, UNITS, plan.loads)
    assert 1 - chance == pytest.approx(failures, abs=0.03)
