"""A small regression that every recipe trains on."""

import jax.numpy as jnp
import numpy as np

_rng = np.random.default_rng(0)
INPUTS = _rng.standard_normal((64, 10)).astype(np.float32)
TARGETS = np.sin(INPUTS[:, :1]).astype(np.float32)
BATCH = (INPUTS, TARGETS)
PARAMS = {
    "w": jnp.asarray(0.3 * _rng.standard_normal((10, 16)), jnp.float32),
    "v": jnp.asarray(0.3 * _rng.standard_normal((16, 1)), jnp.float32),
}


def predict(params, inputs):
    return jnp.tanh(inputs @ params["w"]) @ params["v"]


def loss(params, batch):
    inputs, targets = batch
    return jnp.mean((predict(params, inputs) - targets) ** 2)


def loss_with_metrics(params, batch):
    inputs, targets = batch
    error = predict(params, inputs) - targets
    return jnp.mean(error**2), {"mae": jnp.mean(jnp.abs(error))}
