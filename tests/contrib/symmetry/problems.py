"""Booth's and Rosenbrock's functions, and the regression of the paper."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd

SLOPE = 0.1


def booth(w, batch=None):
    """(x + 2y - 7)^2 + (2x + y - 5)^2."""
    del batch
    return (w[0] + 2 * w[1] - 7) ** 2 + (2 * w[0] + w[1] - 5) ** 2


def rosenbrock(w, batch=None):
    """100 (x^2 - y)^2 + (x - 1)^2."""
    del batch
    return 100 * (w[0] ** 2 - w[1]) ** 2 + (w[0] - 1) ** 2


def booth_rotation():
    """Return the rotations that keep Booth's function."""
    return jd.contrib.symmetry.rotation(
        lambda w: jnp.stack([w[0] + 2 * w[1] - 7, 2 * w[0] + w[1] - 5]),
        lambda u: jnp.stack([2 * u[1] - u[0] + 3, 2 * u[0] - u[1] + 9]) / 3,
    )


def rosenbrock_rotation():
    """Return the rotations that keep Rosenbrock's function."""
    return jd.contrib.symmetry.rotation(
        lambda w: jnp.stack([10 * (w[0] ** 2 - w[1]), w[0] - 1]),
        lambda u: jnp.stack([u[1] + 1, (u[1] + 1) ** 2 - u[0] / 10]),
    )


def outputs(params, inputs):
    """Return what a network of leaky ReLUs without biases gives."""
    for kernel in params[:-1]:
        inputs = jax.nn.leaky_relu(inputs @ kernel, SLOPE)
    return inputs @ params[-1]


def square_loss(params, batch):
    """Return half of the summed squared errors."""
    return jnp.sum((outputs(params, batch[0]) - batch[1]) ** 2) / 2


def regression(seed, dtype):
    """Return kernels [5, 6, 7, 8] and a batch of four examples, uniform in [0, 1)."""
    rng = np.random.default_rng(seed)
    shapes = ((6, 5), (7, 6), (8, 7), (5, 4), (8, 4))  # as the paper has them
    first, second, third, inputs, targets = (
        jnp.asarray(rng.uniform(size=shape).T, dtype) for shape in shapes
    )
    return [first, second, third], (inputs, targets)


def descend(loss, params, batch, rate, steps):
    """Return the parameters after steps of gradient descent."""

    def step(params, _):
        gradient = jax.grad(loss)(params, batch)
        return jax.tree.map(lambda x, g: x - rate * g, params, gradient), None

    return jax.lax.scan(step, params, length=steps)[0]
