"""Formulas for the time of an update."""

import pytest

from jaxdist import timing

EXP = timing.exponential(1.0)
SHIFTED = timing.shifted_exponential(1.0, 1.0)
PARETO = timing.pareto(2.0, 1.0)


@pytest.mark.parametrize(
    ("protocol", "law", "wanted"),
    [
        (timing.k_sync(4), EXP, 0.6345),
        (timing.k_batch_async(4), EXP, 0.5),
        (timing.k_batch_sync(4), EXP, 0.5),
        (timing.k_sync(4), SHIFTED, 1.6345),
        (timing.k_batch_async(4), SHIFTED, 1.0),
        (timing.k_sync(4), PARETO, 1.3924),
        (timing.k_batch_async(4), PARETO, 1.0),
        (timing.k_sync(8), SHIFTED, 3.7179),
        (timing.k_async(8), SHIFTED, 3.7179),
        (timing.k_batch_async(8), SHIFTED, 2.0),
    ],
    ids=repr,
)
def test_figures_of_eight_workers(protocol, law, wanted):
    found = timing.expected_step_time(protocol, 8, law)
    assert found == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("protocol", "law"),
    [
        (timing.k_batch_sync(4), SHIFTED),
        (timing.k_async(4), PARETO),
        (timing.k_sync(4), timing.mixture(0.1, EXP, PARETO)),
        (timing.k_sync(1), timing.Law(lambda key, worker, draw: 1.0)),
        (timing.adasync(timing.k_async, 1, 1.0), EXP),
        (timing.ringmaster(3), EXP),
    ],
    ids=repr,
)
def test_without_a_formula_the_error_says_to_simulate(protocol, law):
    with pytest.raises(ValueError, match="Simulate it: jaxdist.timing.simulate_clock"):
        timing.expected_step_time(protocol, 8, law)
