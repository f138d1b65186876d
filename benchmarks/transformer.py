"""A transformer over bytes, and the sources of Python's standard library to read."""

import pathlib
import sysconfig

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

WIDTH, LAYERS, HEADS, CONTEXT = 128, 3, 4, 64


class Block(nn.Module):
    """Attention to what came before, then two dense layers."""

    @nn.compact
    def __call__(self, hidden):
        """Return hidden states of the shape of ``hidden``, [n, context, width]."""
        mask = nn.make_causal_mask(hidden[..., 0])
        attention = nn.MultiHeadDotProductAttention(HEADS)
        hidden = hidden + attention(nn.LayerNorm()(hidden), mask=mask)
        wide = nn.gelu(nn.Dense(4 * WIDTH)(nn.LayerNorm()(hidden)))
        return hidden + nn.Dense(WIDTH)(wide)


class Transformer(nn.Module):
    """Three blocks, 0.67M parameters."""

    @nn.compact
    def __call__(self, text):
        """Return logits [n, context, 256] of the next byte."""
        place = self.param("place", nn.initializers.normal(0.02), (CONTEXT, WIDTH))
        hidden = nn.Embed(256, WIDTH)(text) + place[None]
        for _ in range(LAYERS):
            hidden = Block()(hidden)
        return nn.Dense(256)(nn.LayerNorm()(hidden))


MODEL = Transformer()


def init(seed: int = 0):
    """Return parameters."""
    return MODEL.init(jax.random.key(seed), jnp.zeros((1, CONTEXT), jnp.int32))


def loss(params, text):
    """Return the mean cross-entropy in nats per byte of [n, context + 1] bytes."""
    logits = MODEL.apply(params, text[:, :-1])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, text[:, 1:])
    return jnp.mean(losses)


def batches(size: int, seed: int, *, held_out: bool = False):
    """Iterate over [size, context + 1] bytes from places drawn at random, for ever.

    Every tenth file is held out.
    """
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    files = [
        file
        for i, file in enumerate(sorted(folder.glob("*.py")))
        if (i % 10 == 0) == held_out
    ]
    text = np.frombuffer(b"".join(file.read_bytes() for file in files), np.uint8)
    rng = np.random.default_rng(seed)
    while True:
        starts = rng.integers(len(text) - CONTEXT - 1, size=size)
        yield text[starts[:, None] + np.arange(CONTEXT + 1)].astype(np.int32)
