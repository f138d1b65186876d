"""The mean of all workers, inside of a mapped axis and outside."""

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
    outside = jd.average_params(PARAMS)
    inside = harness.run(
        lambda own: jd.average_params(own, harness.AXIS), backend, PARAMS
    )
    np.testing.assert_allclose(outside["w"], PARAMS["w"].mean(axis=0), rtol=1e-6)
    for name, mean in outside.items():
        assert inside[name].dtype == mean.dtype == PARAMS[name].dtype
        inside[name] = inside[name].astype(jnp.float32)
        mean = np.broadcast_to(mean.astype(jnp.float32), inside[name].shape)
        np.testing.assert_allclose(inside[name], mean, rtol=1e-5, atol=1e-7)


def test_what_has_no_workers():
    with pytest.raises(ValueError, match="`params` must have a leading .*leaf 'a'"):
        jd.average_params({"a": jnp.ones(())})
