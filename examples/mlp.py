"""The small model of the examples: two dense layers without biases."""

import math

import jax
import optax

HIDDEN = 64


def init(seed: int, inputs: int, gain: float = 1.0) -> dict[str, jax.Array]:
    """Return the weights; those of the first layer have the variance gain / inputs."""
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "in": jax.random.normal(first, (inputs, HIDDEN)) / math.sqrt(inputs / gain),
        "out": jax.random.normal(second, (HIDDEN, 10)) / math.sqrt(HIDDEN),
    }


def logits_of(params, images):
    """Return logits [n, 10]."""
    return jax.nn.relu(images @ params["in"]) @ params["out"]


def loss(params, batch):
    """Return the mean cross-entropy of a batch."""
    logits = logits_of(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()
