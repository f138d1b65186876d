"""Who is absent or not finite does not count, and its weight goes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import _tree
from jaxdist.gossip import _mixing
from tests import harness

RNG = np.random.default_rng(0)
TOPOLOGIES = [
    jd.gossip.ring(),
    jd.gossip.star(),
    jd.gossip.complete(),
    jd.gossip.exponential(),
]
EVERY = pytest.mark.parametrize("topology", TOPOLOGIES, ids=repr)


def mixed(topology, params, weight=None, backend="vmap"):
    """Return the parameters after one step without gradients."""
    tx = jd.mix_with_neighbors(harness.AXIS, topology)

    def worker(own, weight):
        extra = {} if weight is None else {"weight": weight}
        updates, _ = tx.update(jnp.zeros_like(own), tx.init(own), own, **extra)
        return own + updates

    if weight is None:
        return harness.run(lambda own: worker(own, None), backend, params)
    return harness.run(worker, backend, params, weight)


def matrix_without(matrix, absent):
    """Return the matrix in which the absent are alone."""
    matrix = matrix.copy()
    matrix[absent], matrix[:, absent] = 0, 0
    np.fill_diagonal(matrix, 0)
    return matrix + np.diag(1 - matrix.sum(axis=1))


@EVERY
@pytest.mark.parametrize("backend", ["vmap", "shard_map"])
def test_the_absent_are_alone(topology, backend):
    params = jnp.asarray(RNG.standard_normal((8, 3)), jnp.float32)
    weight = np.ones(8, np.float32)
    weight[[2, 5]] = 0
    expected = matrix_without(topology.matrix(8), [2, 5]) @ np.asarray(params)
    found = mixed(topology, params, jnp.asarray(weight), backend)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@EVERY
def test_a_nan_stays_where_it_is(topology):
    params = RNG.standard_normal((8, 3)).astype(np.float32)
    params[2, 1], params[5, 0] = np.nan, np.inf
    honest = np.setdiff1d(np.arange(8), [2, 5])
    expected = matrix_without(topology.matrix(8), [2, 5])
    found = np.asarray(mixed(topology, jnp.asarray(params)))
    assert np.isfinite(found[honest]).all() and not np.isfinite(found[2, 1])
    expected = expected[np.ix_(honest, honest)] @ params[honest]
    np.testing.assert_allclose(found[honest], expected, rtol=1e-5, atol=1e-6)


@EVERY
def test_who_agrees_does_not_move_at_all(topology):
    params = jnp.broadcast_to(RNG.standard_normal(50).astype(np.float32), (8, 50))
    np.testing.assert_array_equal(mixed(topology, params), params)


def test_shares_are_added_in_float32():
    updates = {"a": jnp.full(2, 256, jnp.bfloat16), "b": jnp.zeros(1)}
    moves = [jnp.full(2, 1.5), jnp.ones(1)]
    out = _mixing.add_to_updates(updates, moves, 2.0)
    np.testing.assert_array_equal(out["a"].astype(jnp.float32), [260, 260])
    assert out["a"].dtype == jnp.bfloat16 and out["b"] == 2


def test_finite_is_finite_everywhere():
    good, bad = jnp.ones(3), jnp.array([1.0, jnp.nan])
    assert _tree.is_finite([good, good]) and not _tree.is_finite([good, bad])
    assert _mixing.presence_of(None, "x") is None
    present = jax.jit(jax.vmap(lambda w: _mixing.presence_of(w, "x"), axis_name="x"))
    np.testing.assert_array_equal(present(jnp.array([0.0, 2.0])), [False, True])
