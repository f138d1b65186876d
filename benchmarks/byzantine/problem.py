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
    """Who aggregates how, and who attacks with what: one training for each attack."""

    rule: jd.AggregationRule
    attacks: Sequence[jd.Attack]
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
    x = jnp.transpose((images - 0.5) / 0.5, (3, 1, 2, 0))
    for layer in (first, second):
        x = jax.nn.relu(_halved(_convolution(x, *layer)))
    x = jnp.moveaxis(x, 0, 2).reshape(-1, len(images))
    x = jax.nn.relu(hidden[0].T @ x + hidden[1][:, None])
    return (last[0].T @ x + last[1][:, None]).T


def _convolution(x, kernel, bias):
    """Multiply a matrix with patches of ``x [channels, height, width, images]``.

    Inside a loop XLA's own takes 10 times longer on a CPU, and with the images first
    this takes 1.5 times longer: patches are copied in shorter runs.
    """
    height, width = (x.shape[axis] - kernel.shape[axis - 1] + 1 for axis in (1, 2))
    wide = jnp.stack([x[:, :, j : j + width] for j in range(kernel.shape[1])])
    patches = jnp.stack([wide[:, :, i : i + height] for i in range(kernel.shape[0])])
    matrix = kernel.reshape(-1, kernel.shape[-1]).T
    x = matrix @ patches.reshape(matrix.shape[1], -1)
    return x.reshape(-1, height, width, patches.shape[-1]) + bias[:, None, None, None]


def _halved(x):
    """Take the largest of each 2 x 2 pixels."""
    channels, height, width, _ = x.shape
    x = x.reshape(channels, height // 2, 2, width // 2, 2, -1)
    rows = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(rows[:, :, :, 0], rows[:, :, :, 1])


def loss(params, images, labels):
    """Return the mean cross-entropy."""
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits(params, images), labels
    )
    return jnp.mean(losses)


def trainer(
    dataset, setting: Setting, similarity: float, steps: int = STEPS
) -> Callable[[Sequence[int]], np.ndarray]:
    """Return ``seeds -> test accuracies [attacks, seeds, times]``, one jitted program.

    All attacks and all seeds of a call are trained at once.
    """
    if steps % TESTED_EVERY:
        raise ValueError(f"`steps` must be a multiple of {TESTED_EVERY}, got {steps}.")
    data = tuple(map(jnp.asarray, dataset))

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, None, None))
    @functools.partial(jax.vmap, in_axes=(None, 0, 0, None))
    def train(which, key, parts, data):
        images, labels, test_images, test_labels = data
        keys = jax.random.split(key, 2)
        params = init(keys[0])
        state = _first_state(params)

        def advance(carry, key):
            def draw(part, key):
                return part[jax.random.randint(key, (BATCH,), 0, len(part))]

            sample, rest = jax.random.split(key)
            places = jax.vmap(draw)(parts, jax.random.split(sample, HONEST))
            batches = images[places], labels[places]
            return _step(setting, which, *carry, batches, rest), None

        def stretch(carry, keys):
            carry, _ = jax.lax.scan(advance, carry, keys)
            return carry, _accuracy(carry[0], test_images, test_labels)

        keys = jax.random.split(keys[1], (steps // TESTED_EVERY, TESTED_EVERY))
        return jax.lax.scan(stretch, (params, state), keys)[1]

    def train_from(seeds):
        train_labels = np.asarray(dataset.train_labels)
        parts = np.stack([deal(train_labels, similarity, seed) for seed in seeds])
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
        attacks = jnp.arange(max(1, len(setting.attacks)))
        return np.asarray(train(attacks, keys, jnp.asarray(parts), data))

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


def _step(setting, which, params, state, batches, key):
    """Train one step; rows of stacked gradients are those of the honest workers."""
    # One worker after the other: gradients of several kernels at once are slower.
    gradients = jax.lax.map(lambda batch: jax.grad(loss)(params, *batch), batches)
    sent, momentum = _AT_THE_WORKERS.update(gradients, state.momentum)
    attack_key, rule_key = jax.random.split(key)
    if setting.num_byzantine:
        sent = jax.tree.map(functools.partial(_with_room, setting.num_byzantine), sent)
        corruptions = [
            functools.partial(_corrupt, attack, setting.num_byzantine)
            for attack in setting.attacks
        ]
        sent = jax.lax.switch(which, corruptions, sent, attack_key)
    anchor = state.last if setting.rule.anchor == "previous" else None
    merged = setting.rule(sent, key=rule_key, anchor=anchor)
    updates, optimizer = _AT_THE_SERVER.update(merged, state.optimizer, params)
    return optax.apply_updates(params, updates), _State(momentum, optimizer, merged)


def _corrupt(attack, num_byzantine, sent, key):
    """Give an attack its arguments in the order that a switch has them."""
    return attack(sent, num_byzantine, key)


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
