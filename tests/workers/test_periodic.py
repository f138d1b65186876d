"""Periodic: only in its step, and counted as a part of every step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import _collectives, _traffic
from jaxdist.workers import _periodic


@pytest.mark.parametrize("period", [1, 3])
def test_runs_in_its_step(period):
    def step(count):
        return _periodic.run_every(period, count, lambda x: x + 1, jnp.zeros(()))

    ran = jax.jit(jax.vmap(step))(jnp.arange(1, 7))
    np.testing.assert_array_equal(ran, [n % period == 0 for n in range(1, 7)])


@pytest.mark.parametrize("period", [1, 4])
def test_what_it_sends_counts_as_a_part(period):
    def step(leaf):
        def total(leaf):
            return _collectives.psum(leaf, "data")

        return _periodic.run_every(period, jnp.ones((), jnp.int32), total, leaf)

    with _traffic.recording() as log:
        jax.eval_shape(jax.vmap(step, axis_name="data"), jnp.ones((8, 10)))
    (row,) = (row for sent in log.values() for row in sent.rows.values())
    assert row.nbytes == 2 * 7 / 8 * 40 / period


class _Pair(NamedTuple):
    value: jax.Array
    nothing: tuple[()]


def test_a_mapping_in_place_of_a_named_tuple_stays_one():
    """As the containers of flax make of a state, which also drop what is empty."""

    def double(pair):
        return _Pair(2 * pair["value"], ())

    for count, wanted in ((1, 3.0), (2, 6.0)):
        made = _periodic.run_every(
            2, jnp.int32(count), double, {"value": jnp.float32(3.0)}
        )
        assert made == {"value": wanted}
