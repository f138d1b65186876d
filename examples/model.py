"""The model of the examples: a small convolutional network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


class CNN(nn.Module):
    """Two convolutions and two dense layers: 0.15M parameters on 8 x 8 pixels."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, images):
        """Return logits [n, num_classes] of images [n, height, width, channels]."""
        hidden = nn.relu(nn.Conv(32, (3, 3))(images))
        hidden = nn.relu(nn.Conv(64, (3, 3))(hidden))
        hidden = nn.avg_pool(hidden, (2, 2), (2, 2))
        hidden = jax.vmap(jnp.ravel)(hidden)
        hidden = nn.relu(nn.Dense(128)(hidden))
        return nn.Dense(self.num_classes)(hidden)


MODEL = CNN()


def init(seed, images):
    """Return parameters for images like these."""
    return MODEL.init(jax.random.key(seed), images[:1])


def loss(params, batch):
    """Return the mean cross-entropy of a batch, and its accuracy as a metric."""
    images, labels = batch
    logits = MODEL.apply(params, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
    return jnp.mean(losses), {"accuracy": accuracy}


@jax.jit
def accuracy(params, images, labels):
    """Return the accuracy on a test set, some hundred images at a time."""
    size = min(len(labels), 500)
    whole = len(labels) // size * size

    def count(batch):
        logits = MODEL.apply(params, batch[0])
        return jnp.sum(jnp.argmax(logits, axis=-1) == batch[1])

    parts = [x[:whole].reshape(-1, size, *x.shape[1:]) for x in (images, labels)]
    correct = jnp.sum(jax.lax.map(count, tuple(parts)))
    return (correct + count((images[whole:], labels[whole:]))) / len(labels)
