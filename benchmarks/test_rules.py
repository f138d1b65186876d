"""Robust rules on stacked gradients, against the faster of NumPy's ways."""

import jax
import numpy as np
import pytest

import jaxdist as jd

WORKERS, SIZE, TRIMMED = 16, 1_000_000, 3
ROWS = np.random.default_rng(0).standard_normal((WORKERS, SIZE)).astype(np.float32)
MIDDLES = (WORKERS // 2 - 1, WORKERS // 2)


def by_sort(rows, first, last):
    return np.sort(rows, axis=0)[first : last + 1].mean(axis=0)


def by_partition(rows, first, last):
    kept = np.partition(rows, (first, last), axis=0)[first : last + 1]
    return kept.mean(axis=0)


RULES = {
    "trimmed mean": (jd.rules.trimmed_mean(TRIMMED), (TRIMMED, WORKERS - TRIMMED - 1)),
    "median": (jd.rules.median(), MIDDLES),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("numpy", [by_sort, by_partition])
def test_numpy(measure, name, numpy):
    bounds = RULES[name][1]
    measure(
        lambda rows: numpy(rows, *bounds),
        ROWS,
        group=f"{name} of 16 x 1M",
        reference=True,
        rounds=5,
    )


@pytest.mark.parametrize("name", RULES)
def test_jaxdist(measure, name):
    rule, bounds = RULES[name]
    np.testing.assert_allclose(rule(ROWS), by_sort(ROWS, *bounds), rtol=1e-4, atol=1e-6)
    measure(jax.jit(rule), jax.device_put(ROWS), group=f"{name} of 16 x 1M")
