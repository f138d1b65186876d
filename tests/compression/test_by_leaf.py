"""By leaf: biases stay dense, patterns decide first."""

import jax
import jax.numpy as jnp
import optax
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


PARAMS = {"embed": jnp.ones((4, 2)), "head": {"kernel": jnp.ones((2, 2))}}


@pytest.mark.parametrize("pattern", ["(", "kernel", "Embed", "head/.*", "embed/*"])
def test_a_pattern_that_matches_nothing_is_refused(pattern):
    policy = jd.compression.by_leaf(SIGN, {pattern: TOP})
    sentence = r"`patterns` .* matches no leaf.*the leaves are 'embed', 'head/kernel'\."
    with pytest.raises(ValueError, match=sentence):
        jd.compress(policy).init(PARAMS)
    with pytest.raises(ValueError, match=sentence):
        jd.compress(jd.compression.by_step({0: policy})).init(PARAMS)
    for options in ({}, {"scope": "leaf"}):
        tx = jd.aggregate("data", compressor=policy, route="gather", **options)
        with pytest.raises(ValueError, match="matches no leaf"):
            jax.eval_shape(
                lambda tx=tx: jax.vmap(
                    lambda _: jax.tree.leaves(tx.init(PARAMS)), axis_name="data"
                )(jnp.arange(2))
            )


def test_a_pattern_may_be_for_what_others_handle():
    policy = jd.compression.by_leaf(SIGN, {"embed": TOP, "*kernel": SIGN})
    mask = {"embed": True, "head": {"kernel": False}}
    optax.masked(jd.compress(policy), mask).init(PARAMS)
    tx = jd.aggregate("data", jd.rules.krum(0), policy, scope="leaf")
    jax.eval_shape(
        jax.vmap(lambda _: jax.tree.leaves(tx.init(PARAMS)), axis_name="data"),
        jnp.arange(8),
    )
    joint = jd.compression.by_leaf(SIGN, {"embed": TOP}, min_size=0, joint=True)
    jd.compress(joint).init(PARAMS)
