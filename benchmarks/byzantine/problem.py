"""Fashion-MNIST dealt to ten honest workers, and ByzFL's network for it.

The configuration is the default one of ByzFL's benchmarks: batches of 25, a rate of
0.1, momentum 0.9 at the workers, weight decay of 1e-4, 800 steps.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxdist as jd

HONEST, BATCH, STEPS = 10, 25, 800
TESTED_EVERY = 50
MOMENTUM, RATE, DECAY = 0.9, 0.1, 1e-4
KERNELS = [(5, 5, 1, 20), (5, 5, 20, 50), (800, 500), (500, 10)]


class Setting(NamedTuple):
    """Who aggregates how, and who attacks with what."""

    rule: jd.AggregationRule
    attack: jd.Attack | None
    num_byzantine: int


def deal(labels: np.ndarray, similarity: float, seed: int) -> np.ndarray:
    """Deal the data to the honest workers; return indices ``[workers, n]``.

    A share ``similarity`` is dealt at random and the rest in the order of the labels,
    so that with ten classes and similarity 0 each worker has a class of its own.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    cut = int(similarity * len(labels))
    similar, rest = order[:cut], order[cut:]
    rest = rest[np.argsort(labels[rest], kind="stable")]
    parts = [
        np.concatenate(both)
        for both in zip(
            np.array_split(similar, HONEST), np.array_split(rest, HONEST), strict=True
        )
    ]
    smallest = min(len(part) for part in parts)
    return np.stack([part[:smallest] for part in parts])


def init(key: jax.Array) -> list:
    """Return kernels and biases, drawn as PyTorch draws them."""

    def layer(shape, key):
        bound = 1 / np.sqrt(np.prod(shape[:-1]))
        kernel, bias = jax.random.split(key)
        return (
            jax.random.uniform(kernel, shape, minval=-bound, maxval=bound),
            jax.random.uniform(bias, shape[-1:], minval=-bound, maxval=bound),
        )

    keys = jax.random.split(key, len(KERNELS))
    return [layer(shape, key) for shape, key in zip(KERNELS, keys, strict=True)]


def logits(params, images):
    """Return ``[n, 10]`` of images ``[n, 28, 28, 1]`` in [0, 1]."""
    first, second, hidden, last = params
    x = (images - 0.5) / 0.5
    for layer in (first, second):
        x = _halved(jax.nn.relu(_convolution(x, *layer)))
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(x @ hidden[0] + hidden[1][None])
    return x @ last[0] + last[1][None]


def _convolution(x, kernel, bias):
    """Multiply patches with a matrix: inside a loop XLA's own takes 10 times longer."""
    height, width = (x.shape[axis] - kernel.shape[axis - 1] + 1 for axis in (1, 2))
    patches = [
        x[:, i : i + height, j : j + width]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]
    joined = jnp.concatenate(patches, axis=-1)
    return joined @ kernel.reshape(-1, kernel.shape[-1]) + bias[None, None, None]


def _halved(x):
    """Take the largest of each 2 x 2 pixels."""
    return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))


def loss(params, images, labels):
    """Return the mean cross-entropy."""
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits(params, images), labels
    )
    return jnp.mean(losses)


def trainer(
    dataset, setting: Setting, similarity: float, steps: int = STEPS
) -> Callable[[Sequence[int]], np.ndarray]:
    """Return ``seeds -> test accuracies [seeds, times]``, as one jitted program."""
    if steps % TESTED_EVERY:
        raise ValueError(f"`steps` must be a multiple of {TESTED_EVERY}, got {steps}.")
    images, labels, test_images, test_labels = map(jnp.asarray, dataset)

    @jax.jit
    @jax.vmap
    def train(key, parts):
        keys = jax.random.split(key, 2)
        params = init(keys[0])
        state = _first_state(params)

        def advance(carry, key):
            def draw(part, key):
                return part[jax.random.randint(key, (BATCH,), 0, len(part))]

            sample, rest = jax.random.split(key)
            places = jax.vmap(draw)(parts, jax.random.split(sample, HONEST))
            return _step(setting, *carry, (images[places], labels[places]), rest), None

        def stretch(carry, keys):
            carry, _ = jax.lax.scan(advance, carry, keys)
            return carry, _accuracy(carry[0], test_images, test_labels)

        keys = jax.random.split(keys[1], (steps // TESTED_EVERY, TESTED_EVERY))
        return jax.lax.scan(stretch, (params, state), keys)[1]

    def train_from(seeds):
        train_labels = np.asarray(dataset.train_labels)
        parts = np.stack([deal(train_labels, similarity, seed) for seed in seeds])
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
        return np.asarray(train(keys, jnp.asarray(parts)))

    return train_from


class _State(NamedTuple):
    momentum: optax.OptState  # of each honest worker
    optimizer: optax.OptState
    last: list  # result of the rule


_AT_THE_WORKERS = optax.ema(MOMENTUM, debias=False)
_AT_THE_SERVER = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE))


def _first_state(params):
    stacked = jax.tree.map(lambda leaf: jnp.zeros((HONEST, *leaf.shape)), params)
    return _State(
        _AT_THE_WORKERS.init(stacked),
        _AT_THE_SERVER.init(params),
        jax.tree.map(jnp.zeros_like, params),
    )


def _step(setting, params, state, batches, key):
    """Train one step; rows of stacked gradients are those of the honest workers."""
    # One worker after the other: gradients of several kernels at once are slower.
    gradients = jax.lax.map(lambda batch: jax.grad(loss)(params, *batch), batches)
    sent, momentum = _AT_THE_WORKERS.update(gradients, state.momentum)
    attack_key, rule_key = jax.random.split(key)
    if setting.num_byzantine:
        sent = jax.tree.map(functools.partial(_with_room, setting.num_byzantine), sent)
        sent = setting.attack(sent, setting.num_byzantine, attack_key)
    anchor = state.last if setting.rule.anchor == "previous" else None
    merged = setting.rule(sent, key=rule_key, anchor=anchor)
    updates, optimizer = _AT_THE_SERVER.update(merged, state.optimizer, params)
    return optax.apply_updates(params, updates), _State(momentum, optimizer, merged)


def _with_room(num_rows, leaf):
    """Append rows for those who do not compute gradients of their own."""
    return jnp.pad(leaf, [(0, num_rows)] + [(0, 0)] * (leaf.ndim - 1))


def _accuracy(params, images, labels):
    """Return the share of right answers; few images at a time stay in cache."""
    parts = images.reshape(-1, BATCH, *images.shape[1:]), labels.reshape(-1, BATCH)
    right = jax.lax.map(
        lambda part: jnp.mean(jnp.argmax(logits(params, part[0]), axis=-1) == part[1]),
        parts,
    )
    return jnp.mean(right)
