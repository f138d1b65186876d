"""Langevin noise: its scale, its moments, and chains over a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxdist as jd
from benchmarks.papers import sampling


def noise_of(tx, size=40_000, steps=1):
    """Return the noise of the last of some steps."""
    state = tx.init(jnp.zeros(size))
    noise = jnp.zeros(size)
    for _ in range(steps):
        noise, state = tx.update(jnp.zeros(size), state)
    return np.asarray(noise, np.float64)


@pytest.mark.parametrize("distribution", ["normal", "binomial"])
def test_moments_of_the_noise(distribution):
    tx = jd.sgmcmc.add_langevin_noise(0.1, 0.3, 0.6, distribution=distribution)
    noise = noise_of(tx) / np.sqrt(2 * 0.4 * 0.3 / 0.1)
    kurtosis = {"normal": 0.0, "binomial": -0.25}[distribution]
    assert abs(noise.mean()) < 4 / 200
    assert abs(noise.var() - 1) < 4 * np.sqrt((2 + kurtosis) / 40_000)
    assert abs((noise**4).mean() - 3 - kurtosis) < 4 * np.sqrt(96 / 40_000)


def test_schedules_go_by_the_count():
    tx = jd.sgmcmc.add_langevin_noise(
        lambda count: jnp.where(count == 0, 0.0, 0.5), lambda count: count / 1
    )
    assert (noise_of(tx, 100) == 0).all()  # a rate of 0
    np.testing.assert_allclose(noise_of(tx, steps=3).var(), 2 * 2 / 0.5, rtol=0.03)


def test_steps_leaves_and_keys_draw_apart():
    zeros = {"a": jnp.zeros(50), "b": jnp.zeros(50)}
    draws = []
    for key in (0, 1):
        tx = jd.sgmcmc.add_langevin_noise(1.0, key=key)
        state = tx.init(zeros)
        for _ in range(2):
            noise, state = tx.update(zeros, state)
            draws += [noise["a"], noise["b"]]
    assert abs(np.corrcoef(np.stack(draws)) - np.eye(8)).max() < 0.6


def test_noise_is_drawn_in_wide_numbers():
    tx = jd.sgmcmc.add_langevin_noise(1.0)
    half = jnp.zeros(10, jnp.bfloat16)
    noise, _ = tx.update(half, tx.init(half))
    wide, _ = tx.update(half.astype(jnp.float32), tx.init(half))
    assert noise.dtype == jnp.bfloat16
    np.testing.assert_array_equal(noise, wide.astype(jnp.bfloat16))
    with pytest.raises(TypeError, match="`updates` must be real.*complex64"):
        tx.update(jnp.zeros(3, jnp.complex64), tx.init(half))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_variance_on_a_quadratic_is_the_one_promised(momentum):
    """(T/a) / (1 - rate a / (2 (1 + m))), by the exact law and by a chain."""
    rate, curvature, heat = 0.1, 2.5, 0.5
    chain = [jd.sgmcmc.add_langevin_noise(rate, heat, momentum)]
    tx = optax.chain(*chain, optax.sgd(rate, momentum=momentum or None))

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(curvature * params, state)
        params += updates
        return (params, state), jnp.mean(params**2)

    start = jnp.zeros(2000), tx.init(jnp.zeros(2000))
    squares = jax.lax.scan(step, start, None, 400)[1][200:]
    promised = heat / curvature / (1 - rate * curvature / (2 * (1 + momentum)))
    exact = jd.testing.stationary_covariance(
        [[[curvature]]], rate, momentum=momentum, temperature=heat
    )
    np.testing.assert_allclose(exact, [[promised]], rtol=1e-10)
    np.testing.assert_allclose(np.mean(squares), promised, rtol=0.02)


@pytest.mark.parametrize(
    "name",
    ["SGHMC with a control variate", "SGLD, 2 steps late", "SGLD, binomial noise"],
)
def test_chains_have_their_exact_law(name):
    model = sampling.draw_regression(100, 2, 0)
    chain = sampling.CASES[name]
    _, ratio, error = sampling.measure(chain, model, 500, 400, 150, seed=3)
    assert abs(ratio - 1) < 4 * error and error < 0.03


def chain_of_workers(gradients, params):
    """Return the parameters after each step; gradients [steps, d] of one worker."""
    rate = 0.05
    tx = optax.chain(
        jd.aggregate("data", compressor=jd.compression.qsgd(8), route="gather"),
        jd.per_worker("chain", jd.sgmcmc.add_langevin_noise(rate, 0.1, 0.9)),
        optax.sgd(rate, momentum=0.9),
    )

    def step(carry, gradient):
        params, state = carry
        updates, state = tx.update(gradient + params, state, params)
        params += updates
        return (params, state), params

    return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]


def test_chains_times_workers_on_a_mesh_are_those_of_a_simulation():
    rng = np.random.default_rng(0)
    gradients = jnp.asarray(rng.standard_normal((2, 4, 3, 5)), jnp.float32)
    starts = jnp.asarray(rng.standard_normal((2, 5)), jnp.float32)
    workers = jax.vmap(chain_of_workers, (0, None), axis_name="data")
    simulated = jax.jit(jax.vmap(workers, axis_name="chain"))(gradients, starts)

    def on_device(gradients, params):
        return chain_of_workers(gradients[0, 0], params[0])[None, None]

    mesh = jax.make_mesh((2, 4), ("chain", "data"), axis_types=(AxisType.Auto,) * 2)
    specs = PartitionSpec("chain", "data"), PartitionSpec("chain")
    mapped = jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=specs[0])
    found = np.asarray(jax.jit(mapped)(gradients, starts))
    np.testing.assert_allclose(found, simulated, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found, found[:, :1].repeat(4, axis=1))
    alike = jax.jit(jax.vmap(workers, (None, None), axis_name="chain", axis_size=2))
    first, second = np.asarray(alike(gradients[0], starts[0]))[:, 0]
    assert (first != second).all()  # of one start and one data, only noise differs
