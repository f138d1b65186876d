"""What 1-bit and 0/1 Adam share: they are one when their refreshes are."""

import jax.numpy as jnp

import jaxdist as jd
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())


def test_with_the_same_refreshes_both_optimizers_are_one():
    gradients, params = oracles.gradients(), jnp.ones(oracles.SHAPE)
    one = jd.optimizers.one_bit_adam(AXIS, 0.1, 3, compressor=SIGN, downlink=SIGN)
    other = jd.optimizers.zero_one_adam(
        *(AXIS, 0.1),
        num_refreshes=2,
        max_period=10**6,
        max_ratio=None,
        compressor=SIGN,
        downlink=SIGN,
        refresh_compressor=jd.compression.identity(),
    )
    # The third refresh of both is in step 2; the fourth of the other only in step 4.
    found, _ = harness.train_in_common(one, params, gradients[:4])
    expected, _ = harness.train_in_common(other, params, gradients[:4])
    harness.assert_trees_equal(found, expected)
