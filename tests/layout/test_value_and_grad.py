"""This worker's gradient on every backend, with the arguments of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxdist as jd
from tests import harness

WEIGHT = jnp.array([1.0, 2.0, 3.0])
ROWS = jax.random.normal(jax.random.key(0), (8, 3))


def loss(weight, row):
    return jnp.sum(weight**2 * row)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_gradient_of_replicated_parameters_is_local(backend):
    def worker(row):
        return jd.value_and_grad(loss, harness.AXIS)(WEIGHT, row)

    values, gradients = harness.run(worker, backend, ROWS)
    np.testing.assert_allclose(gradients, 2 * WEIGHT[None] * ROWS, rtol=1e-6)
    np.testing.assert_allclose(values, (WEIGHT[None] ** 2 * ROWS).sum(1), rtol=1e-5)


def test_what_it_is_for():
    """Under axis types plain gradients are summed over the workers."""

    def worker(row):
        return jax.grad(loss)(WEIGHT, row)

    gradients = harness.run(worker, "shard_map", ROWS)
    np.testing.assert_allclose(
        gradients[0], (2 * WEIGHT[None] * ROWS).sum(axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_aux_argnums_and_keywords(backend):
    def fun(row, tree, *, scale):
        value = scale * jnp.sum(tree["w"] * row)
        return value, {"double": 2 * value}

    def worker(row):
        differentiate = jd.value_and_grad(
            fun, harness.AXIS, argnums=(0, 1), has_aux=True
        )
        return differentiate(row, {"w": WEIGHT}, scale=3.0)

    (value, aux), (by_row, by_tree) = harness.run(worker, backend, ROWS)
    np.testing.assert_allclose(aux["double"], 2 * value)
    np.testing.assert_allclose(by_row, 3 * jnp.broadcast_to(WEIGHT, (8, 3)))
    np.testing.assert_allclose(by_tree["w"], 3 * ROWS, rtol=1e-6)


def test_negative_argnums():
    def worker(row):
        return jd.value_and_grad(loss, harness.AXIS, argnums=-2)(WEIGHT, row)[1]

    gradients = harness.run(worker, "shard_map", ROWS)
    np.testing.assert_allclose(gradients, 2 * WEIGHT[None] * ROWS, rtol=1e-6)


def test_axis_name_is_checked():
    with pytest.raises(ValueError, match="`axis_name` must be"):
        jd.value_and_grad(loss, 0)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_modules_of_nnx_are_parameters(backend):
    model = nnx.Linear(3, 1, use_bias=False, rngs=nnx.Rngs(0))

    def worker(row):
        def of_model(model):
            return jnp.sum(model.kernel[:, 0] ** 2 * row)

        return jd.value_and_grad(of_model, harness.AXIS)(model)

    values, gradients = harness.run(worker, backend, ROWS)
    kernel = model.kernel[:, 0]
    np.testing.assert_allclose(
        gradients.kernel[..., 0], 2 * kernel[None] * ROWS, rtol=1e-5
    )
    np.testing.assert_allclose(values, (kernel[None] ** 2 * ROWS).sum(1), rtol=1e-5)
