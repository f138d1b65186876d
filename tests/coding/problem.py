"""A small model on real data: logistic regression of ten handwritten digits."""

import functools

import jax
import numpy as np
import pytest

NUM_UNITS = 64


@functools.cache
def every_gradient():
    """Return the gradient of each unit ``[64, 650]``, in float32."""
    datasets = pytest.importorskip("sklearn.datasets")
    pixels, labels = datasets.load_digits(return_X_y=True)
    params = 0.1 * jax.random.normal(jax.random.key(0), (65, 10))

    def loss(params, pixels, label):
        return -jax.nn.log_softmax(pixels @ params[:-1] + params[-1])[label]

    inputs = pixels[:NUM_UNITS].astype(np.float32) / 16, labels[:NUM_UNITS]
    gradients = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(params, *inputs)
    return np.asarray(gradients).reshape(NUM_UNITS, -1)


def unit_gradients(num_units):
    """Return the gradient of each of the first units ``[m, 650]``."""
    assert num_units <= NUM_UNITS
    return every_gradient()[:num_units]


def block_sums(code):
    """Return the sum of gradients of each block ``[B, d]``, as workers compute it."""
    starts = np.cumsum(code.block_sizes) - code.block_sizes
    return np.add.reduceat(unit_gradients(code.num_units), starts)


def decoded_sum(code, weights):
    """Return what the server adds up ``[d]`` in float32, from all messages."""
    sums, weights = block_sums(code), np.asarray(weights, np.float32)
    if code.coefficients is None:
        return weights.sum(axis=0) @ sums
    return weights @ (code.coefficients.astype(np.float32) @ sums)
