"""By leaf: biases stay dense, patterns decide first."""

import jax.numpy as jnp
import pytest

import jaxdist as jd

SIGN, TOP = jd.compression.scaled_sign(), jd.compression.top_k(0.1)


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("dense/kernel", (64, 64), SIGN),
        ("dense/bias", (4096,), jd.compression.identity()),
        ("conv/kernel", (3, 3, 1, 8), jd.compression.identity()),
        ("embed/table", (10, 2), TOP),
        ("embed/scale", (10,), TOP),
        ("head/kernel", (64, 64), jd.compression.identity()),
    ],
)
def test_choices(path, shape, expected):
    policy = jd.compression.by_leaf(
        SIGN, {"embed/*": TOP, "head*": jd.compression.identity()}
    )
    assert policy.select(path, jnp.zeros(shape)) is expected


def test_the_first_pattern_that_matches_decides():
    policy = jd.compression.by_leaf(
        SIGN, {"a/b": TOP, "a/*": jd.compression.identity()}
    )
    assert policy.select("a/b", jnp.zeros(1)) is TOP
    assert policy.select("a/c/d", jnp.zeros(1)) is jd.compression.identity()


def test_limits_can_be_lifted():
    policy = jd.compression.by_leaf(SIGN, min_ndim=0, min_size=0)
    assert policy.select("bias", jnp.zeros(3)) is SIGN


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"`patterns\['a'\]` must be a compressor"):
        jd.compression.by_leaf(SIGN, {"a": 3})
    with pytest.raises(ValueError, match="`min_size` must be an integer >= 0, got -1"):
        jd.compression.by_leaf(SIGN, min_size=-1)
    with pytest.raises(TypeError, match="`compressor` must be a compressor"):
        jd.compression.by_leaf(jd.compression.by_leaf(SIGN))
