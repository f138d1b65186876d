"""Shapes and dtypes, of results and states."""

import jax
import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def broken(compressor, name, match):
    with pytest.raises(AssertionError, match=match):
        testing.check_compressor(compressor, properties=[name])


def test_dtype_must_be_that_of_like():
    wide = defects.decoding(
        jd.compression.identity(), lambda x: x.astype(jnp.float32), "wide"
    )
    broken(
        wide, "shape_and_dtype", r"bfloat16\[61\] `decode` returns float32\[61\] for"
    )


def test_shape_must_be_that_of_like():
    flat = defects.decoding(jd.compression.identity(), lambda x: x.reshape(-1), "flat")
    broken(flat, "shape_and_dtype", r"float32\[\] `decode` returns float32\[1\] for")


def test_what_is_raised_is_reported():
    def fail(x):
        raise RuntimeError("no such shape") if x.ndim > 1 else StopAsyncIteration

    def change(x):
        return fail(x) if x.ndim > 1 else x

    odd = defects.decoding(jd.compression.identity(), change, "odd")
    broken(odd, "shape_and_dtype", r"\[13, 7\] it raised RuntimeError: no such shape")


def test_ordinary_leaves_come_back_finite():
    nan = defects.decoding(
        jd.compression.identity(),
        lambda x: x / jnp.asarray(0, x.dtype),
        "divides by zero",
    )
    broken(nan, "shape_and_dtype", "returns values that are not finite")


def _stateful(init, after):
    def encode(leaf, state, keys, blocks):
        payload, _ = jd.compression.identity().encode(leaf, (), keys, blocks)
        return payload, after(state)

    return jd.compression.identity()._replace(init=init, encode=encode, name="stateful")


def test_states_keep_their_structure_shape_and_dtype():
    def zeros(leaf):
        return jnp.zeros(leaf.shape, jnp.float32)

    testing.check_compressor(_stateful(zeros, lambda s: s + 1), properties=["state"])
    broken(
        _stateful(zeros, lambda state: (state,)),
        "state",
        "makes a state .* but `encode`",
    )
    broken(
        _stateful(lambda leaf: {"old": zeros(leaf)}, lambda s: {"old": s["old"][:3]}),
        "state",
        r"the state\['old'\] is float32\[61\] from `init`, but float32\[3\]",
    )
    broken(
        _stateful(zeros, lambda s: s.astype(jnp.bfloat16)),
        "state",
        r"is float32\[61\] from `init`, but bfloat16\[61\]",
    )


def test_states_stay_finite_and_do_not_depend_on_values():
    def zeros(leaf):
        return jnp.zeros(leaf.shape, jnp.float32)

    broken(_stateful(zeros, lambda s: 1 / s), "state", "not finite after 3 steps")
    broken(
        _stateful(lambda leaf: jnp.zeros(int(leaf[0])), lambda s: s),
        "state",
        "it raised ConcretizationTypeError|it raised TypeError|TracerInteger",
    )


def test_keys_in_a_state_are_no_numbers():
    keyed = _stateful(lambda leaf: jax.random.key(0), lambda s: s)
    testing.check_compressor(keyed, properties=["state"])
