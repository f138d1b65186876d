"""One row per public factory; every row buys all the properties of this folder."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import _random
from tests import harness
from tests.contract import oracles

AXIS = harness.AXIS


class CompressorRow(NamedTuple):
    """A compressor, and the payload of a float32 leaf of 100 elements."""

    compressor: jd.Compressor
    nbytes: int
    shared_randomness: bool = False  # workers may draw together, though not linear
    shape: tuple[int, ...] = (61,)  # of most leaves that the kit tries


def masked_leaf(shape, density):
    """Return the compressor of a leaf with a random mask."""
    places = np.random.default_rng(0).permutation(math.prod(shape)).reshape(shape)
    policy = jd.compression.masked(places < round(density * places.size))
    return policy.select("", jax.ShapeDtypeStruct(shape, jnp.float32))


def _masked(density):
    """Return what masks a leaf of any shape; the public one has one for each leaf."""
    of_shape = functools.cache(functools.partial(masked_leaf, density=density))
    return of_shape((100,))._replace(
        encode=lambda leaf, *args: of_shape(leaf.shape).encode(leaf, *args),
        decode=lambda sent, like, *args: of_shape(like.shape).decode(sent, like, *args),
        accumulate=lambda total, *args: of_shape(total.shape).accumulate(total, *args),
    )


COMPRESSORS = [
    CompressorRow(jd.compression.identity(), 400),
    CompressorRow(jd.compression.cast(jnp.bfloat16), 200),
    CompressorRow(jd.compression.top_k(0.1), 10 * (4 + 1)),
    CompressorRow(jd.compression.top_k(0.1, block_size=30), 4 * 3 * (4 + 1)),
    CompressorRow(jd.compression.atomo(0.1), 10 * (4 + 1)),
    CompressorRow(jd.compression.atomo(0.3, block_size=30), 4 * 8 * (4 + 1)),
    CompressorRow(jd.compression.gspar(0.1), 10 * (4 + 1)),
    CompressorRow(jd.compression.gspar(variance=4.0), 20 * (4 + 1)),
    CompressorRow(jd.compression.gspar(variance=1.0, max_density=0.2), 20 * (4 + 1)),
    CompressorRow(jd.compression.threshold(1.0, max_density=0.2), 20 * (4 + 1)),
    CompressorRow(
        jd.compression.threshold(density=0.1, max_density=0.3, sampled=0.5),
        30 * (4 + 1),
    ),
    CompressorRow(jd.compression.cat(), 10 * (4 + 1)),
    CompressorRow(
        jd.compression.cat(
            jd.compression.PacketCost(16, 4, 4), "sign", max_density=0.3
        ),
        8 + 4 + 30,
    ),
    CompressorRow(
        jd.compression.cat(mode="stochastic", block_size=30), 4 * 3 * (4 + 1)
    ),
    CompressorRow(jd.compression.random_k(0.1), 10 * 4),
    CompressorRow(jd.compression.random_k(0.3), 30 * 4),
    CompressorRow(jd.compression.random_k(0.3, shared=False), 30 * 4),
    CompressorRow(_masked(0.3), 30 * 4),
    CompressorRow(jd.compression.dct_top_k(0.1, transform_size=16), 12 * (4 + 1)),
    CompressorRow(jd.compression.dct_top_k(0.1, 40), 4 * 4 * (4 + 1)),
    CompressorRow(
        jd.compression.dct_top_k(0.1, transform_size=8, dimensions=2),
        11 * (4 + 1),
        shape=(9, 8),
    ),
    CompressorRow(
        jd.compression.quantized(jd.compression.top_k(0.1), jd.compression.qsgd(8)),
        10 + 4 + 10,
    ),
    CompressorRow(
        jd.compression.quantized(
            jd.compression.top_k(0.1), jd.compression.cast(jnp.bfloat16)
        ),
        10 * (2 + 1),
    ),
    CompressorRow(
        jd.compression.quantized(jd.compression.atomo(0.1), jd.compression.qsgd(4)),
        5 + 4 + 10,
    ),
    CompressorRow(
        jd.compression.quantized(jd.compression.random_k(0.3), jd.compression.qsgd(8)),
        30 + 4,
        shared_randomness=True,
    ),
    CompressorRow(jd.compression.scaled_sign(), 13 + 4),
    CompressorRow(jd.compression.scaled_sign(block_size=30), 13 + 4 * 4),
    CompressorRow(jd.compression.scaled_sign(block_size=30, scale="l2"), 13 + 4 * 4),
    CompressorRow(jd.compression.one_bit(), 13 + 8),
    CompressorRow(jd.compression.one_bit(block_size=30), 13 + 4 * 8),
    CompressorRow(jd.compression.two_bit(), 25 + 8),
    CompressorRow(jd.compression.two_bit(30, bin_width=1.0), 25 + 4 * 8),
    CompressorRow(
        jd.compression.quantized(
            jd.compression.top_k(0.1, 50), jd.compression.two_bit(5)
        ),
        3 + 2 * 8 + 10,
    ),
    CompressorRow(jd.compression.drive(), 128 // 8 + 4),
    CompressorRow(jd.compression.drive(block_size=32), 4 * (4 + 4)),
    CompressorRow(jd.compression.eden(bits=2, block_size=16), 7 * (4 + 4)),
    CompressorRow(jd.compression.eden(bits=4), 128 // 2 + 4),
    CompressorRow(jd.compression.drive(64, scale="inner_product"), 2 * (8 + 4)),
    CompressorRow(jd.compression.qsgd(bits=8), 100 + 4),
    CompressorRow(jd.compression.qsgd(bits=3, block_size=20), 25 + 13 + 5 * 4),
    CompressorRow(jd.compression.qsgd(bits=4, block_size=30, norm="max"), 50 + 4 * 4),
    CompressorRow(jd.compression.terngrad(), 20 + 4),
    CompressorRow(jd.compression.terngrad(block_size=20), 20 + 5 * 4),
    CompressorRow(jd.compression.natural(), 100 + 13),
    CompressorRow(jd.compression.blockwise_int(), 100 + 4),
    CompressorRow(jd.compression.blockwise_int(bits=4, block_size=30), 50 + 4 * 4),
    CompressorRow(jd.compression.blockwise_float8(), 100 + 4),
    CompressorRow(jd.compression.blockwise_float8(jnp.float8_e5m2, 30), 100 + 4 * 4),
    CompressorRow(jd.compression.contractive(jd.compression.random_k(0.1)), 10 * 4),
    CompressorRow(jd.compression.contractive(jd.compression.qsgd(bits=2)), 25 + 4),
    CompressorRow(
        jd.compression.error_feedback(jd.compression.top_k(0.1)), 10 * (4 + 1)
    ),
    CompressorRow(
        jd.compression.error_feedback(jd.compression.scaled_sign(), decay=0.9), 13 + 4
    ),
    CompressorRow(
        jd.compression.error_feedback(jd.compression.top_k(0.1), residual_dtype="int8"),
        10 * 5,
    ),
    CompressorRow(jd.compression.ef21(jd.compression.top_k(0.1)), 10 * (4 + 1)),
    CompressorRow(
        jd.compression.ef21(
            jd.compression.contractive(jd.compression.random_k(0.1)), 0.9
        ),
        10 * 4,
    ),
    CompressorRow(
        jd.compression.momentum_correction(jd.compression.top_k(0.1)), 10 * (4 + 1)
    ),
    CompressorRow(jd.compression.atomo(0.1, basis="dct"), 13 * (4 + 1)),
    CompressorRow(jd.compression.atomo(0.5, basis="svd"), 400, shape=(9, 8)),
    CompressorRow(
        jd.compression.power_sgd(2), 400, shared_randomness=True, shape=(9, 8)
    ),
    CompressorRow(
        jd.compression.power_sgd(2, axes=jd.compression.MatrixAxes(batch=0)),
        400,
        shared_randomness=True,
        shape=(2, 9, 8),
    ),
    CompressorRow(
        jd.compression.measured(
            jd.compression.error_feedback(jd.compression.top_k(0.1))
        ),
        10 * (4 + 1),
    ),
]


class RuleRow(NamedTuple):
    """A rule for up to two Byzantine workers, and the same in float64."""

    rule: jd.AggregationRule
    oracle: Callable[[np.ndarray], np.ndarray]
    atol: float = 1e-6  # what is nearly degenerate or orthogonal needs more
    more_workers: int = 12  # with which the kit tries it too; programs for 70 are long


def apply(rule, stacked, **known):
    """Call the rule; a reference, if it needs one, is all ones."""
    if rule.anchor == "reference":
        known["anchor"] = jax.tree.map(lambda leaf: jnp.ones_like(leaf[0]), stacked)
    return rule(stacked, **known)


def _places(num_workers):
    """Return the permutation that a rule draws before all others."""
    key = _random.named_key(jax.random.key(0), "before")
    return np.asarray(jax.random.permutation(key, num_workers))


RULES = [
    RuleRow(jd.rules.mean(), oracles.mean),
    RuleRow(jd.rules.median(), oracles.median),
    RuleRow(jd.rules.median("lower"), oracles.lower_median),
    RuleRow(jd.rules.trimmed_mean(2), oracles.trimmed_mean(2), more_workers=70),
    RuleRow(jd.rules.trimmed_mean(fraction=0.2), oracles.fraction_trimmed_mean(2)),
    RuleRow(jd.rules.meamed(2), oracles.meamed(2)),
    RuleRow(jd.rules.phocas(2), oracles.phocas(2)),
    RuleRow(jd.rules.krum(2), oracles.krum(2), more_workers=70),
    RuleRow(jd.rules.multi_krum(2), oracles.multi_krum(2)),
    RuleRow(jd.rules.multi_krum(2, 1, iterated=True), oracles.iterated_krum(2, 1)),
    RuleRow(jd.rules.bulyan(1), oracles.bulyan(1)),
    RuleRow(jd.rules.minimum_diameter(2), oracles.minimum_diameter(2)),
    RuleRow(jd.rules.minimum_variance(2), oracles.minimum_variance(2)),
    RuleRow(jd.rules.smea(2), oracles.smea(2)),
    RuleRow(jd.rules.geometric_median(), oracles.geometric_median),
    RuleRow(
        jd.rules.centered_clipping(4.0, 3), oracles.centered_clipping(4.0, 3), atol=3e-5
    ),
    RuleRow(jd.rules.cge(2), oracles.cge(2)),
    RuleRow(jd.rules.monna(2), oracles.monna(2)),
    RuleRow(jd.rules.aksel(2), oracles.aksel(), atol=3e-5),
    RuleRow(jd.rules.spectral_filter(2, 1.0), oracles.spectral_filter(2, 1.0)),
    RuleRow(
        jd.rules.spectral_filter(2, 1.5, tight=True),
        oracles.spectral_filter(2, 1.5, tight=True),
        atol=1e-5,
    ),
    RuleRow(jd.rules.caf(2), oracles.caf(2)),
    RuleRow(jd.rules.sign_majority(), oracles.sign_majority),
    RuleRow(jd.rules.dnc(2), oracles.dnc(2)),
    RuleRow(jd.rules.clipped_clustering(), oracles.clipped_clustering),
    RuleRow(jd.rules.fltrust(), oracles.fltrust, atol=3e-5),
    RuleRow(jd.rules.zeno(2, 1.0, 0.5), oracles.zeno(2, 1.0, 0.5), atol=3e-5),
    RuleRow(
        jd.rules.nnm(2, then=jd.rules.trimmed_mean(2)),
        oracles.nnm(2, oracles.trimmed_mean(2)),
    ),
    RuleRow(jd.rules.nnm(2, then=jd.rules.krum(2)), oracles.nnm(2, oracles.krum(2))),
    RuleRow(
        jd.rules.arc(2, then=jd.rules.nnm(2, then=jd.rules.trimmed_mean(2))),
        oracles.arc(2, oracles.nnm(2, oracles.trimmed_mean(2))),
    ),
    RuleRow(
        jd.rules.bucketing(2, 1, then=jd.rules.krum),
        oracles.bucketing(2, _places, oracles.krum(2)),
    ),
    RuleRow(
        jd.rules.clipping(5.0, then=jd.rules.trimmed_mean(2)),
        oracles.clipping(5.0, oracles.trimmed_mean(2)),
    ),
    RuleRow(
        jd.rules.arc(2, then=jd.rules.trimmed_mean(2)),
        oracles.arc(2, oracles.trimmed_mean(2)),
    ),
]

# One for each thing that an attack may need: nothing, keys, the others, a memory.
TYPICAL_ATTACKS = [
    jd.attacks.sign_flip(3.0),
    jd.attacks.gaussian(),
    jd.attacks.a_little_is_enough(1.5),
    jd.attacks.learned_mimic(warm_up=2),
]
ATTACKS = [
    *TYPICAL_ATTACKS,
    jd.attacks.non_finite(),
    jd.attacks.inner_product_manipulation(),
    jd.attacks.optimal_inner_product_manipulation(
        jd.rules.nnm(1, then=jd.rules.trimmed_mean(1)), 2.0, 3, 1
    ),
    jd.attacks.optimal_a_little_is_enough(jd.rules.mean(), 2.0, 3, 1),
    jd.attacks.min_max(),
    jd.attacks.min_sum(),
    jd.attacks.mimic(),
    jd.attacks.coordinate_shift(),
    jd.attacks.anti_comparative_elimination(),
    jd.attacks.fang_trimmed_mean(),
    jd.attacks.fang_krum(num_halvings=3),
]


CODES = [
    jd.coding.uncoded(6, 20),
    jd.coding.uncoded(1, 1),
    jd.coding.batched_coupons(12, 50, 15),
    jd.coding.batched_coupons(3, 7, 7),
    jd.coding.random_units([5, 12, 18, 18, 20], 20, key=1),
    jd.coding.fractional_repetition(6, 2),
    jd.coding.fractional_repetition(8, 3, 21),
    jd.coding.fractional_repetition(1, 0),
    jd.coding.repetition(8, 4),
    jd.coding.repetition(7, 3),
    jd.coding.cyclic_repetition(4, 1),
    jd.coding.cyclic_repetition(6, 2, 40),
    jd.coding.cyclic_repetition(5, 0),
    jd.coding.cyclic_repetition(3, 2),
    jd.coding.cyclic_repetition(1, 0),
]


# With as many workers as each is for.
TOPOLOGIES = [
    jd.gossip.ring(),
    jd.gossip.torus(2, 4),
    jd.gossip.circulant(1, 3),
    jd.gossip.exponential(),
    jd.gossip.one_peer_exponential(),
    jd.gossip.random_pairs(3),
    jd.gossip.complete(),
    jd.gossip.star(),
    jd.gossip.graph(np.roll(np.eye(8), 1, axis=1) / 4 + np.eye(8) * 3 / 4),
    jd.gossip.metropolis(np.eye(8, k=1) + np.eye(8, k=-1)),
]


class TransformationRow(NamedTuple):
    """A transformation, and how to feed it."""

    name: str
    tx: optax.GradientTransformationExtraArgs
    symmetry: str | None = None
    """What permuting the workers does to the updates: "invariant", "equivariant", or
    None for what depends on a worker's index."""
    needs_loss: bool = False
    own_params: bool = False  # each worker has parameters of its own
    communicates: bool = True
    has_weights: bool = False  # workers count for more or less, or are absent
    needs_staleness: bool = False


def _weighted(name, *args, symmetry="invariant", **kwargs):
    tx = jd.aggregate(AXIS, *args, weighted=True, **kwargs)
    return TransformationRow(f"weighted-{name}", tx, symmetry, has_weights=True)


def _aggregate(name, *args, symmetry="invariant", **kwargs):
    return TransformationRow(
        f"aggregate-{name}", jd.aggregate(AXIS, *args, **kwargs), symmetry
    )


def _attack(attack):
    return TransformationRow(
        f"attack-{attack.name.split('(')[0]}",
        jd.inject_attack(AXIS, attack, 2),
        communicates=attack.collude is not None,
    )


def with_reference(tx):
    """Return the transformation with a reference of all ones."""

    def update(updates, state, params=None, **extra_args):
        ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), updates)
        return tx.update(updates, state, params, reference=ones, **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def _with_reference_updates(tx):
    """Return the transformation with half of the updates as their reference."""

    def update(updates, state, params=None, **extra_args):
        half = jax.tree.map(lambda leaf: leaf / 2, updates)
        return tx.update(updates, state, params, reference_updates=half, **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update)


_ONES = jax.tree.map(jnp.ones_like, harness.params_like(harness.gradients(1)))
_EVERY_THIRD = jax.tree.map(
    lambda leaf: np.arange(leaf.size).reshape(leaf.shape) % 3 == 0, _ONES
)
_SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
_TOP = jd.compression.error_feedback(jd.compression.top_k(0.1))

_LEANING = jd.gossip.graph(
    np.eye(8) * np.linspace(0.2, 0.6, 8)
    + np.roll(np.eye(8), 1, axis=0) * (1 - np.linspace(0.2, 0.6, 8))
)


def _mixing(name, topology, *args, symmetry=None, **kwargs):
    tx = jd.mix_with_neighbors(AXIS, topology, *args, **kwargs)
    has_weights = name.startswith("weighted")
    more = {"has_weights": has_weights, "own_params": True}
    return TransformationRow(f"mix_with_neighbors-{name}", tx, symmetry, **more)


TRANSFORMATIONS = [
    _aggregate("dense"),
    _aggregate("cast", jd.rules.mean(), jd.compression.cast(jnp.bfloat16)),
    _aggregate("top_k", jd.rules.mean(), _TOP),
    _aggregate("random_k", jd.rules.mean(), jd.compression.random_k(0.2)),
    _aggregate("masked-mean", jd.rules.mean(), jd.compression.masked(_EVERY_THIRD)),
    _aggregate("masked-median", jd.rules.median(), jd.compression.masked(_EVERY_THIRD)),
    _aggregate(
        "two_way",
        jd.rules.mean(),
        _SIGN,
        downlink=jd.compression.error_feedback(jd.compression.top_k(0.2, 16)),
    ),
    _aggregate("by_leaf", jd.rules.mean(), jd.compression.by_leaf(_TOP, min_size=64)),
    _aggregate(
        "qsgd", jd.rules.mean(), jd.compression.qsgd(4, 32), "scatter", symmetry=None
    ),
    _aggregate(
        "gspar", jd.rules.mean(), jd.compression.gspar(0.2), "scatter", symmetry=None
    ),
    _aggregate(
        "cat",
        jd.rules.mean(),
        jd.compression.error_feedback(jd.compression.cat(max_density=0.2)),
        "gather",
    ),
    _aggregate("median", jd.rules.median(), _SIGN, "gather"),
    _aggregate("trimmed_mean", jd.rules.trimmed_mean(2), _SIGN, "scatter"),
    _aggregate("krum-gather", jd.rules.krum(2), _TOP, "gather"),
    _aggregate(
        "ef21-mean",
        jd.rules.mean(),
        jd.compression.ef21(jd.compression.top_k(0.1), 0.5),
        "gather",
    ),
    _aggregate(
        "ef21-median",
        jd.rules.median(),
        jd.compression.ef21(jd.compression.top_k(0.1)),
        downlink=jd.compression.ef21(jd.compression.top_k(0.2)),
    ),
    _aggregate(
        "by_step",
        jd.rules.mean(),
        jd.compression.by_step(
            {0: jd.compression.error_feedback(jd.compression.identity()), 2: _TOP}
        ),
        "gather",
    ),
    _aggregate(
        "joint",
        jd.rules.mean(),
        jd.compression.by_leaf(_TOP, min_size=64, joint=True),
        "gather",
    ),
    _aggregate("measured", jd.rules.mean(), jd.compression.measured(_SIGN), "gather"),
    _aggregate(
        "power_sgd",
        jd.rules.mean(),
        jd.compression.error_feedback(jd.compression.power_sgd(1)),
    ),
    _aggregate(
        "momentum_correction",
        jd.rules.mean(),
        jd.compression.momentum_correction(jd.compression.top_k(0.1)),
    ),
    _aggregate(
        "int8-residual",
        jd.rules.mean(),
        jd.compression.error_feedback(
            jd.compression.scaled_sign(), residual_dtype="int8"
        ),
        symmetry=None,
    ),
    _aggregate("krum-scatter", jd.rules.krum(2), route="scatter"),
    _aggregate("metrics", jd.rules.krum(2), metrics=True, symmetry=None),
    _aggregate("aksel", jd.rules.aksel(2), route="scatter"),
    _aggregate(
        "clipping",
        jd.rules.centered_clipping(3.0, 2),
        jd.compression.cast(jnp.bfloat16),
    ),
    _aggregate(
        "nnm",
        jd.rules.nnm(2, then=jd.rules.median()),
        _SIGN,
        metrics=True,
        symmetry=None,
    ),
    _aggregate(
        "bucketing", jd.rules.bucketing(2, 1, then=jd.rules.krum), symmetry=None
    ),
    _aggregate("clipped_clustering", jd.rules.clipped_clustering(4), route="scatter"),
    _weighted("psum"),
    _weighted("gather", jd.rules.mean(), _TOP, "gather"),
    _weighted("scatter", jd.rules.trimmed_mean(1), _SIGN, downlink=_SIGN),
    _weighted("ef21", jd.rules.mean(), jd.compression.ef21(jd.compression.top_k(0.2))),
    _weighted("dialogue", compressor=jd.compression.power_sgd(1)),
    _weighted(
        "nnm",
        jd.rules.nnm(1, then=jd.rules.krum(1)),
        route="scatter",
        metrics=True,
        symmetry=None,
    ),
    _weighted("previous", jd.rules.centered_clipping(3.0, 2)),
    TransformationRow(
        "zeno",
        with_reference(jd.aggregate(AXIS, jd.rules.zeno(2, 1.0, 0.5))),
        "invariant",
    ),
    TransformationRow(
        "compress",
        jd.per_worker(
            AXIS, jd.compress(jd.compression.error_feedback(jd.compression.top_k(0.2)))
        ),
        "equivariant",
        communicates=False,
    ),
    TransformationRow(
        "delay-fixed",
        jd.per_worker(AXIS, jd.delay_updates(2, warm_up="oldest")),
        "equivariant",
        communicates=False,
    ),
    TransformationRow(
        "delay-drawn",
        jd.per_worker(AXIS, jd.delay_updates([0.2, 0.3, 0.5])),
        communicates=False,
    ),
    TransformationRow(
        "delay-inner",
        jd.per_worker(
            AXIS,
            jd.delay_updates(
                [0.2, 0.3, 0.5],
                inner=optax.chain(
                    jd.scale_by_staleness(), jd.limit_step_by_distance(1.0, 0.1)
                ),
            ),
        ),
        communicates=False,
    ),
    *map(_attack, TYPICAL_ATTACKS),
    TransformationRow(
        "per_worker",
        jd.per_worker(AXIS, optax.trace(0.9)),
        "equivariant",
        communicates=False,
    ),
    TransformationRow(
        "shard_optimizer",
        jd.shard_optimizer(AXIS, optax.trace(0.9), jd.rules.trimmed_mean(2), _SIGN),
        "invariant",
    ),
    TransformationRow(
        "skip_nonfinite",
        jd.skip_nonfinite(AXIS, jd.aggregate(AXIS, jd.rules.mean(), _TOP)),
        "invariant",
    ),
    TransformationRow(
        "skip_stale",
        jd.skip_stale(AXIS, jd.aggregate(AXIS, jd.rules.mean(), _TOP), 3),
        "invariant",
        needs_staleness=True,
    ),
    TransformationRow(
        "leader",
        jd.pull_to_leader(AXIS, 0.3),
        "equivariant",
        needs_loss=True,
        own_params=True,
    ),
    TransformationRow(
        "leader-period",
        jd.pull_to_leader(AXIS, 0.3, period=2),
        "equivariant",
        needs_loss=True,
        own_params=True,
    ),
    TransformationRow(
        "leader-memory",
        jd.pull_to_leader(
            AXIS,
            0.3,
            period=2,
            loss_average=2,
            stored_strength=0.2,
            num_workers=harness.NUM_WORKERS,
        ),
        "equivariant",
        needs_loss=True,
        own_params=True,
    ),
    TransformationRow(
        "center", jd.pull_to_center(AXIS, 0.1), "equivariant", own_params=True
    ),
    TransformationRow(
        "center-period",
        jd.pull_to_center(AXIS, 0.1, period=2, center="new"),
        "equivariant",
        own_params=True,
    ),
    TransformationRow(
        "local_updates",
        jd.local_updates(
            AXIS,
            optax.sgd(0.1, momentum=0.9),
            optax.chain(
                jd.aggregate(
                    AXIS,
                    compressor=jd.compression.error_feedback(
                        jd.compression.scaled_sign()
                    ),
                ),
                optax.sgd(0.7, momentum=0.9, nesterov=True),
            ),
            period=2,
        ),
        "equivariant",
        own_params=True,
    ),
]

TRANSFORMATIONS += [
    TransformationRow(
        "measure_diversity", jd.measure_diversity(AXIS, jd.aggregate(AXIS)), "invariant"
    ),
    TransformationRow(
        "measure_diversity-weighted",
        jd.measure_diversity(
            AXIS, jd.aggregate(AXIS, jd.rules.trimmed_mean(1), _SIGN, "scatter")
        ),
        "invariant",
        has_weights=True,
    ),
    TransformationRow(
        "adascale",
        jd.adascale(AXIS, 0.1, jd.aggregate(AXIS, compressor=_TOP)),
        "invariant",
    ),
]

TRANSFORMATIONS += [
    TransformationRow(
        "recover", jd.recover(AXIS, jd.coding.repetition(8, 4)), has_weights=True
    ),
    TransformationRow(
        "keep_sparse", jd.keep_sparse(_EVERY_THIRD), "equivariant", communicates=False
    ),
    TransformationRow(
        "add_langevin_noise",
        jd.sgmcmc.add_langevin_noise(0.1, 0.01, 0.9),
        "equivariant",
        communicates=False,
    ),
    TransformationRow(
        "add_langevin_noise-binomial",
        jd.per_worker(
            AXIS, jd.sgmcmc.add_langevin_noise(0.1, 0.01, distribution="binomial")
        ),
        communicates=False,
    ),
    TransformationRow(
        "control_variate",
        _with_reference_updates(
            jd.sgmcmc.control_variate(_ONES, jd.aggregate(AXIS, compressor=_TOP))
        ),
        "invariant",
    ),
]

TRANSFORMATIONS += [
    _mixing("ring", jd.gossip.ring(), step_size=0.5),
    _mixing("complete", jd.gossip.complete(), symmetry="equivariant"),
    _mixing("star", jd.gossip.star(), order="adapt_then_combine"),
    _mixing("one_peer", jd.gossip.one_peer_exponential()),
    _mixing("pairs", jd.gossip.random_pairs(1)),
    _mixing("choco", jd.gossip.ring(), jd.compression.top_k(0.2), step_size=0.2),
    _mixing(
        "choco-policy",
        jd.gossip.complete(),
        jd.compression.by_leaf(
            jd.compression.contractive(jd.compression.qsgd(4)), min_size=64
        ),
        step_size=0.2,
        order="adapt_then_combine",
    ),
    _mixing("bridge", jd.gossip.circulant(1, 2), rule=jd.rules.trimmed_mean(1)),
    _mixing(
        "bridge-complete",
        jd.gossip.complete(),
        rule=jd.rules.geometric_median(),
        symmetry="equivariant",
    ),
    _mixing(
        "bridge-drawing",
        jd.gossip.exponential(),
        rule=jd.rules.bucketing(2, 0, then=jd.rules.krum),
    ),
    _mixing("bridge-memory", jd.gossip.ring(), rule=jd.rules.clipped_clustering(4)),
    _mixing(
        "bridge-choco",
        jd.gossip.circulant(1, 2),
        jd.compression.scaled_sign(),
        jd.rules.trimmed_mean(1),
        step_size=0.5,
    ),
    _mixing("weighted", jd.gossip.torus(2, 4)),
    _mixing(
        "weighted-choco",
        jd.gossip.ring(),
        jd.compression.contractive(jd.compression.random_k(0.2)),
        step_size=0.2,
    ),
    _mixing("weighted-rule", jd.gossip.circulant(1, 2), rule=jd.rules.krum(1)),
    _mixing("weighted-complete", jd.gossip.complete(), symmetry="equivariant"),
    TransformationRow(
        "exact_diffusion",
        jd.exact_diffusion(AXIS, jd.gossip.ring()),
        own_params=True,
    ),
    TransformationRow(
        "exact_diffusion-weighted",
        jd.exact_diffusion(AXIS, jd.gossip.complete(), lazy=False),
        "equivariant",
        own_params=True,
        has_weights=True,
    ),
    TransformationRow("track_gradient", jd.track_gradient(AXIS, jd.gossip.ring())),
    TransformationRow(
        "track_gradient-weighted",
        jd.track_gradient(AXIS, jd.gossip.exponential()),
        has_weights=True,
    ),
    TransformationRow(
        "push_sum", jd.push_sum(AXIS, _LEANING), own_params=True, has_weights=True
    ),
    TransformationRow(
        "push_sum-complete",
        jd.push_sum(AXIS, jd.gossip.complete()),
        "equivariant",
        own_params=True,
    ),
]

_WIRE = jd.aggregate(AXIS, compressor=_SIGN, downlink=_SIGN)
TRANSFORMATIONS += [
    TransformationRow(
        "share_momentum",
        jd.share_momentum(AXIS, jd.aggregate(AXIS, jd.rules.median(), _SIGN), 0.8),
        "invariant",
    ),
    TransformationRow(
        "share_momentum-weighted",
        jd.share_momentum(AXIS, _WIRE, 0.8),
        "invariant",
        has_weights=True,
    ),
]


def _optimizer(name, *args, symmetry="invariant", **kwargs):
    """Return the row of an optimizer; a name may say more after a hyphen."""
    has_weights = kwargs.pop("has_weights", False)
    tx = getattr(jd.optimizers, name.split("-")[0])(AXIS, 0.1, *args, **kwargs)
    return TransformationRow(name, tx, symmetry, has_weights=has_weights)


_SIGNS = {"compressor": _SIGN, "downlink": _SIGN}
OPTIMIZERS = [
    _optimizer("one_bit_adam", 2, rule=jd.rules.median(), **_SIGNS),
    _optimizer("one_bit_adam-weighted", 1, has_weights=True, weight_decay=0.1),
    _optimizer("one_bit_lamb", 2, rule=jd.rules.median(), **_SIGNS),
    _optimizer("one_bit_lamb-weighted", 1, has_weights=True, weight_decay=0.1),
    _optimizer("zero_one_adam", num_refreshes=1, **_SIGNS),
    _optimizer("demo", 0.9, 0.2, 32, 8),
    _optimizer("demo-weighted", 0.9, 0.2, 32, 8, values="sign", has_weights=True),
    _optimizer("distributed_lion", rule=jd.rules.sign_majority()),
    _optimizer("distributed_lion-weighted", period=2, has_weights=True),
    _optimizer("loco", has_weights=True),
    _optimizer("dion", elementwise=["sca*"]),
    _optimizer("dion-weighted", 0.5, weight_decay=0.1, has_weights=True),
    _optimizer("ef21_sgd2m", 0.8, rule=jd.rules.median()),
    _optimizer("ef21_sgd2m-weighted", 0.8, weighted=True, has_weights=True),
]
TRANSFORMATIONS += OPTIMIZERS

# Their states and messages are those of the typical ones; their numbers are their own.
MORE_ATTACKS = [_attack(attack) for attack in ATTACKS if attack not in TYPICAL_ATTACKS]

LAWS = [
    jd.timing.exponential(2.0),
    jd.timing.shifted_exponential(1.0, 0.5),
    jd.timing.pareto(3.0, 1.0),
    jd.timing.constant(1.5),
    jd.timing.trace([[1.0, 2.5, 0.5]] * 8),
    jd.timing.slowed(jd.timing.exponential(1.0), [1.0, 2.0, 0.5, 1, 1, 1, 3, 1]),
    jd.timing.mixture(0.2, jd.timing.exponential(1.0), jd.timing.pareto(3.0, 5.0)),
]

# For eight workers.
PROTOCOLS = [
    jd.timing.k_sync(3),
    jd.timing.k_sync(8),
    jd.timing.k_async(1),
    jd.timing.k_async(5),
    jd.timing.k_batch_sync(3),
    jd.timing.k_batch_async(3),
    jd.timing.k_batch_async(11),
    jd.timing.ringmaster(3),
    jd.timing.adasync(jd.timing.k_async, 2, 1.0),
    jd.timing.adasync(jd.timing.k_batch_sync, 2, 1.0),
    jd.timing.until_decodable(jd.coding.fractional_repetition(8, 3)),
    jd.timing.until_decodable(jd.coding.cyclic_repetition(8, 1)),
    jd.timing.until_decodable(jd.coding.batched_coupons(8, 8, 4), limit=2),
]

NOT_IN_A_TABLE = {
    "Action": "a type",
    "TeleportMetrics": "a result",
    "layer_pairs": "a function; tests/contrib/symmetry/test_layer_pairs.py",
    "rotation": "a function; tests/contrib/symmetry/test_rotation.py",
    "teleport": "a function; tests/contrib/symmetry/test_teleport.py",
    "AddLangevinNoiseState": "a state",
    "KeepSparseState": "a state",
    "erdos_renyi_densities": "a function; tests/sparsity",
    "magnitude_mask": "a function; tests/sparsity/test_magnitude_mask.py",
    "random_mask": "a function; tests/sparsity/test_random_mask.py",
    "smart_densities": "a function; tests/sparsity/test_smart_densities.py",
    "uniform_densities": "a function; tests/sparsity",
    "CodedStorage": "a type",
    "ShufflePlan": "a type",
    "coded_storage": "a function; tests/coding/test_coded_storage.py",
    "shuffle_plan": "a function; tests/coding/test_shuffle_plan.py",
    "GraphTotalVariationProx": "a result",
    "Representatives": "a result",
    "StructuredRepresentatives": "a result",
    "graph_total_variation_prox": "a function; tests/contrib",
    "group_soft_threshold": "a function; tests/contrib",
    "structured_representatives": "a function; tests/contrib",
    "representatives": "a function; tests/contrib/test_representatives.py",
    "ControlVariateState": "a state",
    "largest_learning_rate": "a function; tests/sgmcmc/test_largest_learning_rate.py",
    "AdascaleState": "a state",
    "DiversityMetrics": "a result",
    "ExampleDiversity": "a result",
    "MeasureDiversityState": "a state",
    "RecoverState": "a state",
    "RunningMoments": "a state",
    "diversity_metrics": "a function; tests/diagnostics/test_diversity_metrics.py",
    "example_diversity": "a function; tests/diagnostics/test_example_diversity.py",
    "expected_diversity": "a function; tests/diagnostics/test_expected_diversity.py",
    "recommended_num_workers": "a function; tests/diagnostics",
    "AggregateState": "a state",
    "AggregationMetrics": "a result",
    "AggregationRule": "the type of RULES",
    "Attack": "a type",
    "Allocation": "a result",
    "AxisName": "a type",
    "CatState": "a state",
    "ClippedClusteringState": "a state",
    "Code": "the type of CODES",
    "CommunicationReport": "a result",
    "CompressState": "a state",
    "CompressionMetrics": "a result",
    "Compressor": "the type of COMPRESSORS",
    "Contract": "a type",
    "Decoded": "a result",
    "DelayInnerState": "a state",
    "DelayUpdatesState": "a state",
    "Dialogue": "a type",
    "DionState": "a state",
    "Ef21Sgd2mState": "a state",
    "Ef21State": "a state",
    "ErrorFeedbackState": "a state",
    "ExactDiffusionState": "a state",
    "Fragments": "a type",
    "Geometry": "a type",
    "Norms": "a type",
    "Radii": "a type",
    "Holders": "a result",
    "InjectAttackState": "a state",
    "Keys": "a type",
    "LeaderMemoryState": "a state",
    "LeafPolicy": "a type",
    "LearnedMimicState": "a state",
    "MeasuredState": "a state",
    "MomentumCorrectionState": "a state",
    "PerWorkerState": "a state",
    "PowerSgdState": "a state",
    "PullToCenterState": "a state",
    "PullToLeaderState": "a state",
    "PushSumState": "a state",
    "EstimateState": "a state",
    "RuleContract": "a type",
    "RuleState": "a state",
    "SeenUpdates": "a type",
    "ShareMomentumState": "a state",
    "SkipNonfiniteState": "a state",
    "SkipStaleState": "a state",
    "StepPolicy": "a type",
    "ThresholdState": "a state",
    "TrackGradientState": "a state",
    "TrainState": "a state",
    "MixWithNeighborsState": "a state",
    "NeighborEstimateState": "a state",
    "Phase": "a type",
    "Topology": "the type of TOPOLOGIES",
    "average_params": "a function; tests/gossip/test_average_params.py",
    "consensus_distance": "a function; tests/gossip/test_consensus_distance.py",
    "aggregation_metrics": "a function; tests/aggregation/test_aggregation_metrics.py",
    "compression_metrics": "a function; tests/compression/test_measured.py",
    "assert_replicas_equal": "a function; tests/safety",
    "plan": "a function; tests/planning/test_plan.py runs it",
    "Candidate": "a type",
    "Link": "a type",
    "Plan": "a type",
    "PlannedStep": "a type",
    "communication_report": "a function; tests/contract/test_bytes.py runs it",
    "cover_probability": "a function; tests/coding/test_coupons.py",
    "data_parallel": "a recipe; tests/recipes",
    "expected_arrivals": "a function; tests/coding/test_coupons.py",
    "init": "a function; tests/contract/test_layout.py runs it",
    "label_flip": "a function of labels; tests/attacks/test_label_flip.py",
    "LocalUpdatesState": "a state",
    "local_round": "a recipe; tests/recipes/test_local_round.py",
    "local_step": "a recipe; tests/recipes",
    "reduce_variance": "takes a function; tests/recipes/test_reduce_variance.py",
    "ReduceVarianceState": "a state",
    "DriftState": "a state",
    "PreviousState": "a state",
    "RoundState": "a state",
    "StreamState": "a state",
    "assigned": "a noun of recipes; tests/fragments",
    "sequential": "a noun of recipes; tests/fragments",
    "strided": "a noun of recipes; tests/fragments",
    "DemoState": "a state",
    "DistributedLionState": "a state",
    "LocoState": "a state",
    "OneBitAdamState": "a state",
    "OneBitLambState": "a state",
    "ZeroOneAdamState": "a state",
    "optimal_loads": "a function; tests/coding/test_hcmm.py",
    "per_shard": "needs a mesh; tests/layout/test_per_shard.py",
    "payload_nbytes": "a function; tests/contract/test_compressors.py runs it",
    "replica_fingerprint": "a function; tests/safety",
    "replicas_equal": "a function; tests/safety",
    "resize_residuals": "a function; tests/aggregation/test_resize_residuals.py",
    "resize_training": "a recipe; tests/recipes",
    "roundtrip": "a function; tests/contract/test_compressors.py runs it",
    "simulate": "a recipe; tests/recipes",
    "state_specs": "a function; tests/contract/test_layout.py runs it",
    "value_and_grad": "a function; tests/layout",
    "Arrival": "a type",
    "AsyncState": "a state",
    "Clock": "a state",
    "Law": "a type",
    "Protocol": "a type",
    "Timeline": "a result",
    "expected_staleness": "a function; tests/timing/test_expected_staleness.py",
    "expected_step_time": "a function; tests/timing/test_expected_step_time.py",
    "simulate_async": "a recipe; tests/recipes/test_simulate_async.py",
    "simulate_clock": "a function; tests/timing/test_simulate_clock.py",
    "variance_of_arrivals": "a function; tests/coding/test_coupons.py",
}


def names(rows):
    """Return the ids of parametrized tests."""
    return [getattr(row, "name", None) or row[0].name for row in rows]


def each(rows):
    """Return the decorator that runs a test once for each row.

    One process runs all tests of a row, in all files: they share compiled programs.
    """
    cases = [
        pytest.param(row, id=name, marks=pytest.mark.xdist_group(name))
        for row, name in zip(rows, names(rows), strict=True)
    ]
    return pytest.mark.parametrize("row", cases)


def inputs(row, steps=3):
    """Return ``params [W, ...]``, updates ``[steps, W, ...]``, extra arguments."""
    updates = harness.gradients(steps)
    params = harness.params_like(updates)
    workers = jnp.arange(harness.NUM_WORKERS, dtype=jnp.float32)

    def spread(leaf):
        offset = workers if row.own_params else jnp.zeros_like(workers)
        shape = (-1, *[1] * leaf.ndim)
        return jnp.zeros_like(leaf)[None] + offset.reshape(shape).astype(leaf.dtype)

    extra = {"value": jnp.abs(updates["scalar"])} if row.needs_loss else {}
    if row.has_weights:
        weight = np.random.default_rng(1).integers(0, 4, (steps, len(workers)))
        extra["weight"] = jnp.asarray(weight, jnp.float32)
    if row.needs_staleness:
        late = np.random.default_rng(2).integers(0, 6, (steps, len(workers)))
        extra["staleness"] = jnp.asarray(late, jnp.int32)
    return jax.tree.map(spread, params), updates, extra
