"""Numbers of NumPy and JAX are as good as Python's, for every factory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

compression, rules, attacks = jd.compression, jd.rules, jd.attacks
TOP = compression.top_k(0.25)
COMPRESSORS = [
    lambda n: compression.top_k(n(0.25), n(16)),
    lambda n: compression.random_k(n(0.25)),
    lambda n: compression.dct_top_k(n(0.25), n(16), n(8), dimensions=n(2)),
    lambda n: compression.atomo(n(0.25), n(16)),
    lambda n: compression.gspar(n(0.25), block_size=n(16)),
    lambda n: compression.gspar(variance=n(1.0), max_density=n(0.5)),
    lambda n: compression.threshold(n(1.0), max_density=n(0.5)),
    lambda n: compression.threshold(
        density=n(0.25), max_density=n(0.5), sampled=n(0.5)
    ),
    lambda n: compression.cat(
        compression.AffineCost(n(1.0), n(2.0)), max_density=n(0.5)
    ),
    lambda n: compression.cat(compression.PacketCost(n(16), n(4), n(4.0))),
    lambda n: compression.scaled_sign(n(16)),
    lambda n: compression.one_bit(n(16)),
    lambda n: compression.two_bit(n(16), n(1.0)),
    lambda n: compression.eden(n(2), n(16)),
    lambda n: compression.drive(n(16)),
    lambda n: compression.qsgd(n(4), n(16)),
    lambda n: compression.terngrad(n(16)),
    lambda n: compression.blockwise_int(n(4), n(16)),
    lambda n: compression.blockwise_float8(block_size=n(16)),
    lambda n: compression.power_sgd(n(1), max_rank=n(2)),
    lambda n: compression.error_feedback(TOP, n(0.5)),
    lambda n: compression.ef21(TOP, n(0.5)),
    lambda n: compression.momentum_correction(TOP, n(0.5)),
]
RULES = [
    lambda n: rules.trimmed_mean(n(2)),
    lambda n: rules.trimmed_mean(fraction=n(0.25)),
    lambda n: rules.krum(n(2)),
    lambda n: rules.multi_krum(n(2), n(3)),
    lambda n: rules.geometric_median(n(0.5), n(300)),
    lambda n: rules.centered_clipping(n(2.0), n(2)),
    lambda n: rules.clipping(n(2.0), then=rules.mean()),
    lambda n: rules.arc(n(2), then=rules.median()),
    lambda n: rules.nnm(n(2), then=rules.median()),
    lambda n: rules.bucketing(n(2), n(1), then=rules.krum),
    lambda n: rules.spectral_filter(n(2), n(1.0)),
    lambda n: rules.monna(n(2), n(1)),
    lambda n: rules.mean([n(1.0)] * 9, max_share=n(0.5)),
]
ATTACKS = [
    lambda n: attacks.sign_flip(n(2.0)),
    lambda n: attacks.gaussian(n(2.0)),
    lambda n: attacks.a_little_is_enough(n(1.5)),
    lambda n: attacks.inner_product_manipulation(n(2.0)),
    lambda n: attacks.coordinate_shift(n(2.0), coordinate=n(1)),
    lambda n: attacks.mimic(n(1)),
    lambda n: attacks.fang_trimmed_mean(reach=n(2.0)),
]
KINDS = pytest.mark.parametrize(
    "number",
    [lambda x: np.asarray(x)[()], np.asarray, jnp.asarray],
    ids=["numpy scalar", "numpy array", "jax array"],
)
ROWS = jax.ShapeDtypeStruct((9, 8, 8), jnp.float32)


def shapes_of(result):
    """Return shapes and dtypes of what a function that is traced returns."""
    return jax.tree.map(lambda x: (x.shape, x.dtype), jax.eval_shape(result, ROWS))


def assert_alike(make, number, apply):
    """Check that factories take either number, and that programs can hold both."""
    plain, other = make(lambda x: x), make(number)
    assert other.name == plain.name
    traced = [shapes_of(lambda rows, of=of: apply(of, rows)) for of in (plain, other)]
    assert traced[0] == traced[1]


@KINDS
def test_compressors(number):
    def apply(compressor, rows):
        return jd.roundtrip(compressor, rows[0], jax.random.key(0))

    for make in COMPRESSORS:
        assert_alike(make, number, apply)


@KINDS
def test_rules(number):
    for make in RULES:
        assert_alike(make, number, lambda rule, rows: rule(rows))


@KINDS
def test_attacks(number):
    for make in ATTACKS:
        assert_alike(make, number, lambda attack, rows: attack(rows, num_byzantine=2))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("density", compression.top_k),
        ("density", compression.random_k),
        ("max_density", lambda x: compression.threshold(1.0, max_density=x)),
        ("variance", lambda x: compression.gspar(variance=x)),
        ("fraction", lambda x: rules.trimmed_mean(fraction=x)),
        ("bits", compression.qsgd),
        ("num_byzantine", rules.krum),
    ],
)
def test_what_shapes_a_program_is_not_traced(name, make):
    with pytest.raises(ValueError, match=f"`{name}`.*static_args='{name}'"):
        jax.eval_shape(lambda x: make(x) and x, 0.5 if "n" in name else 4)


@pytest.mark.parametrize(
    "tx",
    [
        jd.compress(compression.error_feedback(TOP)),
        jd.compress(compression.power_sgd(1)),
        jd.aggregate("data", compressor=compression.ef21(TOP)),
        jd.aggregate("data", rules.centered_clipping(1.0), route="gather"),
    ],
)
def test_integer_leaves_are_named(tx):
    params = {"kernel": jnp.ones((4, 4)), "steps": jnp.ones((4, 4), jnp.int32)}
    with pytest.raises(TypeError, match="`params`.*leaf 'steps' is int32"):
        tx.init(params)
