"""What travels where the user does not say it: signs or bytes, both ways."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist.optimizers import _ways

PARAMS = {"w": jnp.zeros((64, 64))}
TOP = jd.compression.top_k(0.25, 64)


def nbytes(*args, **options):
    tx = _ways.bind_way("data", None, *args, 0, **options)
    return jd.communication_report(tx, PARAMS, 8).total_nbytes


def test_a_default_is_taken_both_ways():
    assert nbytes(None, None) == 7 / 8 * 2 * 4 * 4096
    assert nbytes(None, None, default=_ways.signs()) == 7 * 2 * (512 / 8 + 4)
    assert nbytes(None, None, default=_ways.int8()) == 7 * 2 * (512 + 2 * 4)


def test_what_the_user_says_replaces_it():
    assert nbytes(TOP, None, default=_ways.signs()) == nbytes(TOP, None)
    back = jd.compression.cast(jnp.bfloat16)
    assert nbytes(None, back, default=_ways.signs()) == 7 * (512 / 8 + 4 + 512 * 2)


def test_small_leaves_travel_as_they_are():
    for policy in (_ways.signs(), _ways.int8()):
        assert policy.select("b", jnp.zeros(9)).name == "identity()"


def test_keys_are_checked():
    with pytest.raises(ValueError, match="`key`"):
        _ways.bind_way("data", None, None, None, 1.5)
