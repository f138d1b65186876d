"""Workers with unequal data end at the optimum of all, and stay there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.gossip import problem

RING = jd.gossip.ring()
WIDE = jd.gossip.circulant(1, 2)


def paper(matrix, num_steps, rate=0.05):
    """Return the parameters of Algorithm 1, in NumPy."""
    own = np.zeros((8, 50))
    previous = own
    for _ in range(num_steps):
        stepped = own - rate * problem.CURVATURES * (own - problem.CENTERS)
        own, previous = matrix @ (stepped + own - previous), stepped
    return own


@pytest.mark.parametrize(
    ("lazy", "topology"), [(True, RING), (True, WIDE), (False, WIDE)]
)
def test_the_steps_of_the_paper(lazy, topology):
    matrix = topology.matrix(8)
    matrix = (np.eye(8) + matrix) / 2 if lazy else matrix
    tx = jd.exact_diffusion(problem.AXIS, topology, lazy)
    for num_steps in (1, 2, 7, 40):
        found = problem.trained(tx, num_steps)
        expected = paper(matrix, num_steps)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("lazy", "topology"), [(True, RING), (False, WIDE)])
def test_no_bias_and_no_drift(lazy, topology):
    """A sum of values would be 1e-2 off after so many steps."""
    tx = jd.exact_diffusion(problem.AXIS, topology, lazy)
    for num_steps in (400, 25_600):
        error = problem.mean_squared_error(problem.trained(tx, num_steps))
        assert error <= 1e-10


def test_narrow_parameters_do_not_drift():
    """They end where rounding lets them."""
    tx = jd.exact_diffusion(problem.AXIS, RING)

    def worker(curvature, center):
        def step(carry, _):
            own, state = carry
            gradient = curvature * (own.astype(jnp.float32) - center)
            updates, state = tx.update(-0.05 * gradient, state, own)
            return (own + updates.astype(own.dtype), state), None

        own = jnp.zeros(50, jnp.bfloat16)
        return jax.lax.scan(step, (own, tx.init(own)), length=3000)[0][0]

    rows = (jnp.float32(x) for x in (problem.CURVATURES, problem.CENTERS))
    ends = jax.jit(jax.vmap(worker, axis_name=problem.AXIS))(*rows)
    away = np.asarray(ends, float) - problem.OPTIMUM
    assert np.abs(away).max() < 0.15


def test_corrections_add_up_to_zero_and_stay_with_the_absent():
    tx = jd.exact_diffusion(harness.AXIS, WIDE)
    rng = np.random.default_rng(0)
    updates = jnp.asarray(rng.standard_normal((5, 8, 3)), jnp.float32)
    weight = np.ones((5, 8), np.float32)
    weight[3:, 2] = 0
    params = jnp.asarray(rng.standard_normal((8, 3)), jnp.float32)
    extra = {"weight": jnp.asarray(weight)}
    _, before = harness.run_steps(
        tx, "vmap", params, updates[:3], {"weight": extra["weight"][:3]}
    )
    out, after = harness.run_steps(tx, "vmap", params, updates, extra)
    kept, found = (s.correction.inner_state[:, 0] for s in (before, after))
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-5)
    np.testing.assert_array_equal(found[2], kept[2])
    np.testing.assert_allclose(out[2, 4], updates[4, 2] + kept[2], rtol=1e-6)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        (jd.gossip.exponential(), "must be symmetric, with one phase, got exponential"),
        (jd.gossip.random_pairs(), "must be symmetric, with one phase, got random_pai"),
    ],
)
def test_what_must_be_symmetric(topology, message):
    with pytest.raises(ValueError, match=f"`topology` .*{message}"):
        jd.exact_diffusion("x", topology)


def test_phases_and_eigenvalues():
    matrices = np.stack([RING.matrix(8), WIDE.matrix(8)])
    turning = jd.exact_diffusion(harness.AXIS, jd.gossip.graph(matrices))
    swinging = jd.exact_diffusion(harness.AXIS, RING, lazy=False)
    for tx, message in (
        (turning, "must be symmetric, with one phase"),
        (swinging, "above -1/3 where `lazy` is False, got -0.333: take lazy=True"),
    ):
        with pytest.raises(ValueError, match=message):
            harness.run_steps(tx, "vmap", jnp.ones((8, 3)), jnp.ones((1, 8, 3)))
