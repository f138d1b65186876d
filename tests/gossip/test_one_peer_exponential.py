"""As many steps as the logarithm of the workers are their mean."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


@pytest.mark.parametrize(
    ("num_workers", "off"), [(2, 0), (8, 0), (64, 0), (6, 0.0834), (12, 0.0417)]
)
def test_the_product_is_the_mean(num_workers, off):
    phases = jd.gossip.one_peer_exponential().phases(num_workers)
    product = functools.reduce(lambda x, y: y @ x, [p.matrix for p in phases])
    assert np.abs(product - 1 / num_workers).max() == pytest.approx(off, abs=1e-4)


def test_three_steps_of_eight_workers_are_exact():
    tx = jd.mix_with_neighbors("worker", jd.gossip.one_peer_exponential())
    start = jax.random.normal(jax.random.key(0), (8, 100))

    def worker(params):
        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jnp.zeros_like(params), state, params)
            return (params + updates, state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=3)[0][0]

    ends = jax.jit(jax.vmap(worker, axis_name="worker"))(start)
    assert jd.consensus_distance(ends) < 1e-6
    np.testing.assert_allclose(ends, [start.mean(axis=0)] * 8, atol=1e-7, rtol=1e-6)
