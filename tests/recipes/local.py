"""What tests of local rounds have in common: recipes, outer optimizers, batches."""

import functools

import numpy as np
import optax

import jaxdist as jd
from tests import harness

AXIS = harness.AXIS
AVERAGE = optax.chain(jd.aggregate(AXIS), optax.sgd(1.0))
DILOCO = optax.chain(jd.aggregate(AXIS), optax.sgd(0.7, momentum=0.9, nesterov=True))
FEEDBACK = jd.compression.error_feedback(jd.compression.scaled_sign())
OUTERS = {
    "average": AVERAGE,
    "diloco": DILOCO,
    "signs": optax.chain(jd.aggregate(AXIS, compressor=FEEDBACK), optax.sgd(0.7)),
    "trimmed": optax.chain(
        jd.inject_attack(AXIS, jd.attacks.sign_flip(10.0), 2),
        jd.aggregate(AXIS, jd.rules.trimmed_mean(2), FEEDBACK, "scatter"),
        optax.sgd(1.0),
    ),
}
simulated = functools.partial(jd.simulate, num_workers=8, axis_name=AXIS)


def on_mesh(*args, **options):
    """Train on a mesh of eight devices."""
    return jd.data_parallel(*args, harness.make_mesh(), AXIS, **options)


def batches(number, seed=0):
    """Return a batch of 64 for each of so many local steps."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((number, 64, 10)).astype(np.float32)
    return inputs, np.sin(inputs[..., :1])
