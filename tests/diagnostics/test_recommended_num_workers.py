"""Recommended number of workers: the last one that is worth it."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0, 30.0, 1234.5])
@pytest.mark.parametrize("efficiency", [0.1, 0.5, 0.9, 1.0])
def test_one_worker_more_would_bring_less(noise, efficiency):
    metrics = jd.DiversityMetrics(jnp.float32(noise), jnp.float32(1.0), jnp.int32(8))
    found = int(jd.diagnostics.recommended_num_workers(metrics, efficiency))

    def gain_of_each(number):
        return (noise + 1) / (noise / number + 1) / number

    assert found >= 1
    assert found == 1 or gain_of_each(found) >= efficiency * (1 - 1e-5)
    assert gain_of_each(found + 1) < efficiency * (1 + 1e-5)


def test_without_a_signal_any_number_is_worth_it():
    metrics = jd.DiversityMetrics(jnp.float32(1), jnp.float32(0), jnp.int32(8))
    assert jd.diagnostics.recommended_num_workers(metrics) == np.inf
    assert jd.diagnostics.recommended_num_workers(metrics, 1.0) == 1
