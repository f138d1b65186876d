"""What all optimizers learn: Fashion-MNIST, in one compiled program for each method.

The folder `examples` must be on the path, whose data sets are read.
"""

from collections.abc import Callable

import datasets
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxdist as jd

AXIS = "data"
WORKERS, PER_WORKER, STEPS, TESTS = 8, 16, 320, 4000
LAYERS = (784, 256, 256, 10)
Method = Callable[[optax.Schedule], optax.GradientTransformation]


def load(directory=None):
    """Return images as rows, and labels: to train and to test."""
    data = datasets.load("fashion-mnist", directory)

    def rows(images):
        return images.reshape(len(images), -1)

    test = rows(data.test_images[:TESTS]), data.test_labels[:TESTS]
    return (rows(data.train_images), data.train_labels), test


def init(seed):
    """Return the parameters of a network of three layers: 0.27M of them."""
    keys = jax.random.split(jax.random.key(seed), len(LAYERS) - 1)
    return {
        f"layer{i}": {
            "kernel": jax.random.normal(key, (n, m)) * np.sqrt(2 / n),
            "bias": jnp.zeros(m),
        }
        for i, (key, n, m) in enumerate(zip(keys, LAYERS, LAYERS[1:], strict=False))
    }


def logits_of(params, images):
    """Return one row of logits for each image."""
    *hidden, last = (params[name] for name in sorted(params))
    for layer in hidden:
        images = jax.nn.relu(images @ layer["kernel"] + layer["bias"])
    return images @ last["kernel"] + last["bias"]


def loss(params, batch):
    """Return the mean cross-entropy."""
    logits = logits_of(params, batch[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()


def trainer(method: Method, data, steps: int = STEPS):
    """Return ``(learning_rate, seed) -> accuracy``, compiled once.

    Args:
      method: Makes an optimizer from a learning rate that is a schedule.
      data: As :func:`load` returns it.
      steps: How many.
    """
    data = jax.tree.map(jnp.asarray, data)

    @jax.jit
    def train(learning_rate, seed, data):
        (images, labels), test = data
        # Five percent warm-up, then half a cosine.
        shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(steps // 20, 1), steps)
        tx = method(lambda count: learning_rate * shape(count))
        start, step = jd.simulate(loss, tx, WORKERS, AXIS)

        def one_step(state, key):
            chosen = jax.random.randint(key, (WORKERS * PER_WORKER,), 0, len(labels))
            return step(state, (images[chosen], labels[chosen]))[0], None

        key = jax.random.key(seed)
        keys = jax.random.split(jax.random.fold_in(key, 1), steps)
        state, _ = jax.lax.scan(one_step, start(init(seed)), keys)
        right = jnp.argmax(logits_of(state.params, test[0]), axis=-1) == test[1]
        return jnp.mean(right), loss(state.params, test)

    return lambda rate, seed: tuple(map(float, train(rate, seed, data)))
