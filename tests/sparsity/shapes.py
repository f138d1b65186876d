"""The prunable leaves of the networks of the paper, in the order of their layers."""

import jax
import jax.numpy as jnp


def _leaves(shapes):
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def resnet32():
    """Return ResNet32 of double width for ten classes; shortcuts follow their convs."""
    shapes = [(3, 3, 3, 32)] + [(3, 3, 32, 32)] * 10
    for width in (64, 128):
        shapes += [(3, 3, width // 2, width), (3, 3, width, width)]
        shapes += [(1, 1, width // 2, width), *[(3, 3, width, width)] * 8]
    return _leaves([*shapes, (128, 10)])


def vgg19():
    """Return VGG19 for ten classes with one linear layer."""
    widths = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    pairs = zip(widths, widths[1:], strict=False)
    return _leaves([*((3, 3, *pair) for pair in pairs), (512, 10)])
