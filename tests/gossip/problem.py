"""Quadratics of eight workers, and what mixing matrices make of them, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)
CURVATURES = RNG.uniform(0.5, 2.0, (8, 50))  # f_i(x) = (x - b_i)^T A_i (x - b_i) / 2
CENTERS = 1 + 0.5 * RNG.standard_normal((8, 50))
OPTIMUM = (CURVATURES * CENTERS).sum(axis=0) / CURVATURES.sum(axis=0)
AXIS = "worker"


def trained(tx, num_steps, curvatures=CURVATURES, centers=CENTERS, rate=0.05):
    """Return the parameters ``[W, d]`` after steps of gradients times ``-rate``."""

    def worker(curvature, center):
        def step(carry, _):
            params, state = carry
            gradient = curvature * (params - center)
            updates, state = tx.update(-rate * gradient, state, params)
            return (params + updates, state), None

        start = jnp.zeros_like(center)
        return jax.lax.scan(step, (start, tx.init(start)), length=num_steps)[0][0]

    rows = (jnp.asarray(x, jnp.result_type(float)) for x in (curvatures, centers))
    return jax.jit(jax.vmap(worker, axis_name=AXIS))(*rows)


def mean_squared_error(params):
    """Return the mean over workers of the squared distance from the optimum."""
    return float(np.mean(np.sum((np.asarray(params, float) - OPTIMUM) ** 2, axis=1)))
