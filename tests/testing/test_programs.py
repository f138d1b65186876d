"""Determinism, and the transformations of jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def broken(compressor, name, match):
    with pytest.raises(AssertionError, match=match):
        testing.check_compressor(compressor, properties=[name])


def test_a_key_of_its_own_is_found():
    fixed = defects.keyed(
        jd.compression.qsgd(4), lambda k: jd.Keys(defects.KEY, defects.KEY), "own"
    )
    broken(fixed, "determinism", "the keys of 16 steps all give the same")


def test_numbers_from_elsewhere_are_found():
    rng = np.random.default_rng(0)
    outside = defects.encoding(
        jd.compression.identity(),
        lambda x: x * jnp.asarray(rng.uniform(), x.dtype),
        "outside",
    )
    broken(outside, "determinism", "something random does not come from the keys")


def test_who_draws_must_say_so():
    silent = defects.promising(jd.compression.qsgd(4), stochastic=False)
    broken(silent, "determinism", "the contract does not say `stochastic`")


def test_python_control_flow_is_found():
    def change(x):
        return x if float(jnp.sum(x)) > 0 else x

    broken(
        defects.encoding(jd.compression.identity(), change, "looks"),
        "transformations",
        "under jit it raised ConcretizationTypeError",
    )


def test_a_result_that_depends_on_jit_is_found():
    def change(x):
        return x if isinstance(x, jax.core.Tracer) else 2 * x

    broken(
        defects.encoding(jd.compression.identity(), change, "traced"),
        "transformations",
        "jit changes what arrives: 5 of 5 leaves differ",
    )


def test_one_leaf_on_the_edge_is_no_defect_of_a_program():
    testing.check_compressor(jd.compression.qsgd(8), properties=["transformations"])
