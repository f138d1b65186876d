"""How far workers are apart, inside of a mapped axis and outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness

PARAMS = {
    "w": jax.random.normal(jax.random.key(0), (8, 3)),
    "half": jnp.linspace(0, 1, 8).astype(jnp.bfloat16),
}


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_inside_and_outside_agree(backend):
    flat = np.concatenate([np.asarray(PARAMS["w"]), PARAMS["half"][:, None]], axis=1)
    flat = flat.astype(float)
    away = flat - flat.mean(axis=0)
    expected = np.sqrt(np.mean(np.sum(away**2, axis=1)))
    inside = harness.run(
        lambda own: jd.consensus_distance(own, harness.AXIS), backend, PARAMS
    )
    np.testing.assert_allclose(inside, [expected] * 8, rtol=1e-5)
    np.testing.assert_allclose(jd.consensus_distance(PARAMS), expected, rtol=1e-5)


def test_who_agrees_is_at_no_distance():
    assert jd.consensus_distance({"w": jnp.full((5, 7), 0.1)}) < 1e-7
    assert jd.consensus_distance({}) == 0
