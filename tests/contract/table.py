"""One row per public factory; every row buys all the properties of this folder."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import jaxdist as jd
from tests import harness

AXIS = harness.AXIS


class CompressorRow(NamedTuple):
    """A compressor, and the payload of a float32 leaf of 100 elements."""

    compressor: jd.Compressor
    nbytes: int
    shared_randomness: bool = False  # workers may draw together, though not linear


COMPRESSORS = [
    CompressorRow(jd.identity(), 400),
    CompressorRow(jd.cast(jnp.bfloat16), 200),
    CompressorRow(jd.top_k(0.1), 10 * (4 + 1)),
    CompressorRow(jd.top_k(0.1, block_size=30), 4 * 3 * (4 + 1)),
    CompressorRow(jd.random_k(0.1), 10 * 4),
    CompressorRow(jd.random_k(0.3), 30 * 4),
    CompressorRow(jd.scaled_sign(), 13 + 4),
    CompressorRow(jd.scaled_sign(block_size=30), 13 + 4 * 4),
    CompressorRow(jd.qsgd(bits=8), 8 * 13 + 4),
    CompressorRow(jd.qsgd(bits=3, block_size=20), 3 * 13 + 5 * 4),
    CompressorRow(jd.contractive(jd.random_k(0.1)), 10 * 4),
    CompressorRow(jd.contractive(jd.qsgd(bits=2)), 2 * 13 + 4),
    CompressorRow(jd.error_feedback(jd.top_k(0.1)), 10 * (4 + 1)),
    CompressorRow(jd.error_feedback(jd.scaled_sign(), decay=0.9), 13 + 4),
]

RULES = [jd.mean(), jd.median(), jd.trimmed_mean(2), jd.krum(2)]


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


def _aggregate(name, *args, symmetry="invariant", **kwargs):
    return TransformationRow(
        f"aggregate-{name}", jd.aggregate(AXIS, *args, **kwargs), symmetry
    )


_SIGN = jd.error_feedback(jd.scaled_sign())
_TOP = jd.error_feedback(jd.top_k(0.1))

TRANSFORMATIONS = [
    _aggregate("dense"),
    _aggregate("cast", jd.mean(), jd.cast(jnp.bfloat16)),
    _aggregate("top_k", jd.mean(), _TOP),
    _aggregate("random_k", jd.mean(), jd.random_k(0.2)),
    _aggregate(
        "two_way", jd.mean(), _SIGN, downlink=jd.error_feedback(jd.top_k(0.2, 16))
    ),
    _aggregate("by_leaf", jd.mean(), jd.by_leaf(_TOP, min_size=64)),
    _aggregate("qsgd", jd.mean(), jd.qsgd(4, 32), "scatter", symmetry=None),
    _aggregate("median", jd.median(), _SIGN, "gather"),
    _aggregate("trimmed_mean", jd.trimmed_mean(2), _SIGN, "scatter"),
    _aggregate("krum-gather", jd.krum(2), _TOP, "gather"),
    _aggregate("krum-scatter", jd.krum(2), route="scatter"),
    TransformationRow(
        "compress",
        jd.per_worker(AXIS, jd.compress(jd.error_feedback(jd.top_k(0.2)))),
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
        "attack-sign_flip",
        jd.inject_attack(AXIS, jd.sign_flip(3.0), 2),
        communicates=False,
    ),
    TransformationRow(
        "attack-gaussian",
        jd.inject_attack(AXIS, jd.gaussian(), 2),
        communicates=False,
    ),
    TransformationRow(
        "per_worker",
        jd.per_worker(AXIS, optax.trace(0.9)),
        "equivariant",
        communicates=False,
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
]

NOT_IN_A_TABLE = {
    "AggregateState": "a state",
    "AggregationRule": "the type of RULES",
    "Attack": "a type",
    "AxisName": "a type",
    "CommunicationReport": "a result",
    "CompressState": "a state",
    "Compressor": "the type of COMPRESSORS",
    "Contract": "a type",
    "DelayUpdatesState": "a state",
    "ErrorFeedbackState": "a state",
    "Geometry": "a type",
    "InjectAttackState": "a state",
    "Keys": "a type",
    "LeafPolicy": "a type",
    "PerWorkerState": "a state",
    "PullToLeaderState": "a state",
    "TrainState": "a state",
    "communication_report": "a function; tests/contract/test_bytes.py runs it",
    "data_parallel": "a recipe; tests/recipes",
    "init": "a function; tests/contract/test_layout.py runs it",
    "local_step": "a recipe; tests/recipes",
    "payload_nbytes": "a function; tests/contract/test_compressors.py runs it",
    "roundtrip": "a function; tests/contract/test_compressors.py runs it",
    "simulate": "a recipe; tests/recipes",
    "state_specs": "a function; tests/contract/test_layout.py runs it",
    "value_and_grad": "a function; tests/layout",
}


def names(rows):
    """Return the ids of parametrized tests."""
    return [getattr(row, "name", None) or row.compressor.name for row in rows]


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
    return jax.tree.map(spread, params), updates, extra
