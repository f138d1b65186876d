"""What compression in both directions keeps exact: the virtual iterates of local SGD.

With what all workers still owe taken off, the parameters move as if nothing were
compressed: z = x - (mean of the workers' residuals + the servers') falls in a round by
the mean displacement, whatever is sent. All compressors of the contract table with
error feedback at once, each for one leaf of a tree.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.contract import table

AXIS, WORKERS, SHAPE, STEPS = harness.AXIS, 8, (9, 8), 4
PART = 9  # elements of a leaf for which one worker is the server
INNER = optax.sgd(0.05, momentum=0.9)
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def _with_feedback():
    """Return what error feedback takes, of the table, with a memory around it."""
    found = {}
    for row in table.COMPRESSORS:
        contract = row.compressor.contract
        contracts = all(contract.contraction(n) > 0 for n in (PART, 72, 2**20))
        if contracts and not (row.compressor.remembers or row.compressor.incremental):
            found[f"{len(found):02d}"] = jd.compression.error_feedback(row.compressor)
    return found


COMPRESSORS = _with_feedback()
SPLITTABLE = {
    name: compressor
    for name, compressor in COMPRESSORS.items()
    if compressor.contract.splittable
}
# Where what differs has nothing to do with the compressor: the first, a sign, two bits.
FEW = {
    name: compressor
    for name, compressor in SPLITTABLE.items()
    if any(word in compressor.name for word in ("top_k(0.1))", "sign()", "two_bit()"))
}


def _policy(compressors):
    return jd.compression.by_leaf(jd.compression.identity(), compressors)


@functools.cache
def _problem(dtype):
    """Return matrices and centres ``[STEPS, W, ...]`` of quadratics, with noise."""
    rng = np.random.default_rng(0)
    curvatures = rng.uniform(0.5, 2, (STEPS, WORKERS, *SHAPE))
    centres = 1 + 0.5 * rng.standard_normal((STEPS, WORKERS, *SHAPE))
    return curvatures.astype(dtype), centres.astype(dtype)


def _loss(params, batch):
    curvature, centre = batch[0][0], batch[1][0]
    moved = [curvature * (leaf - centre) ** 2 for leaf in jax.tree.leaves(params)]
    return 0.5 * sum(jnp.sum(leaf) for leaf in moved)


@jax.jit
def _displacements(params, inner, batches):
    """Return how far each worker gets, ``[W, ...]``, from inner states ``[W, ...]``."""

    def walk(inner, curvatures, centres):
        def step(carried, batch):
            own, inner = carried
            grads = jax.grad(_loss)(own, jax.tree.map(lambda x: x[None], batch))
            updates, inner = INNER.update(grads, inner, own)
            return (optax.apply_updates(own, updates), inner), None

        (end, _), _ = jax.lax.scan(step, (params, inner), (curvatures, centres))
        return jax.tree.map(jnp.subtract, params, end)

    curvatures, centres = batches
    return jax.vmap(walk, (0, 1, 1))(inner, curvatures, centres)


def _inner_rows(opt_state, params, inner_state):
    """Return the inner states ``[W, ...]`` with which workers start a round."""
    if inner_state == "carry":
        return opt_state.inner.inner_state
    common = INNER.init(params) if inner_state == "reset" else opt_state.inner
    return jax.tree.map(lambda x: jnp.stack([x] * WORKERS), common)


def _owed(aggregated, name, has_way_back):
    """Return what the workers owe in the mean, and what the servers owe."""
    owed = aggregated.uplink.inner_state[name].residual.mean(axis=0)
    if has_way_back:
        parts = aggregated.downlink.inner_state[name].residual
        owed += parts.reshape(-1)[: owed.size].reshape(owed.shape)
    return owed


def _largest_gaps(outer, names, inner_state, dtype, has_way_back):
    """Return how far each leaf's virtual iterate is from where it should be."""
    batches = _problem(dtype)
    init, step = jd.simulate(
        *(_loss, INNER, WORKERS, AXIS), outer=outer, inner_state=inner_state
    )
    state = init({name: jnp.zeros(SHAPE, dtype) for name in names})
    gaps = dict.fromkeys(names, 0.0)

    def virtual(state):
        aggregated = state.opt_state.outer[0]
        return {
            name: np.asarray(state.params[name] - _owed(aggregated, name, has_way_back))
            for name in names
        }

    for _ in range(4):
        inner = _inner_rows(state.opt_state, state.params, inner_state)
        moved = _displacements(state.params, inner, batches)
        wanted = virtual(state)
        for name in names:
            wanted[name] = wanted[name] - np.asarray(moved[name]).mean(axis=0)
        state, _ = step(state, batches)
        for name, found in virtual(state).items():
            gaps[name] = max(gaps[name], np.abs(found - wanted[name]).max())
    owed = [_owed(state.opt_state.outer[0], name, has_way_back) for name in names]
    assert sum(float(jnp.abs(leaf).max()) > 0.01 for leaf in owed) > len(owed) / 2
    return gaps


def _check(gaps, compressors, dtype):
    wrong = {
        compressors[name].name: gap
        for name, gap in gaps.items()
        if not gap <= TOLERANCE[dtype]
    }
    assert not wrong


def _both_ways(compressors, inner_state, dtype):
    policy = _policy(compressors)
    outer = optax.chain(
        jd.aggregate(AXIS, compressor=policy, route="scatter", downlink=policy),
        optax.sgd(1.0),
    )
    with jax.enable_x64(dtype == "float64"):
        gaps = _largest_gaps(outer, list(compressors), inner_state, dtype, True)
    _check(gaps, compressors, dtype)


def _one_way(compressors, dtype):
    policy = _policy(compressors)
    outer = optax.chain(jd.aggregate(AXIS, compressor=policy), optax.sgd(1.0))
    with jax.enable_x64(dtype == "float64"):
        gaps = _largest_gaps(outer, list(compressors), "carry", dtype, False)
    _check(gaps, compressors, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("inner_state", ["carry", "reset", "average"])
def test_both_ways_compressed(inner_state, dtype):
    """ECDC local SGD with momentum, with each treatment of what it remembers."""
    assert len(FEW) >= 3
    _both_ways(FEW, inner_state, dtype)


@pytest.mark.slow
def test_both_ways_with_all_compressors():
    assert len(SPLITTABLE) >= 30
    _both_ways(SPLITTABLE, "carry", "float64")


def test_one_way_compressed():
    """Qsparse-local-SGD, and others in its place."""
    _one_way(FEW, "float32")


@pytest.mark.slow
def test_one_way_with_all_compressors():
    assert set(SPLITTABLE) < set(COMPRESSORS)
    _one_way(COMPRESSORS, "float64")
