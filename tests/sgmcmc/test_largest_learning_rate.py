"""Largest learning rate: just below it a descent ends, just above it runs away."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd

TABLE = {
    0.0: [2, 1, 0.618, 0.2846, 0.1495],
    0.5: [3, 0.5, 0.2808, 0.1286, 0.0696],
    0.9: [3.8, 0.1, 0.0512, 0.0215, 0.0114],
}


@pytest.mark.parametrize("momentum", TABLE)
def test_table_of_the_docs(momentum):
    found = [
        jd.sgmcmc.largest_learning_rate(1.0, momentum, delay)
        for delay in (0, 1, 2, 5, 10)
    ]
    np.testing.assert_allclose(found, TABLE[momentum], atol=6e-5)
    documented = jd.delay_updates.__doc__
    for number in TABLE[momentum]:
        assert f"{number}" in documented


@pytest.mark.parametrize("delay", [1, 2, 7, 20, 200])
def test_closed_form_without_momentum(delay):
    wanted = 2 * np.sin(np.pi / (2 * (2 * delay + 1)))
    found = jd.sgmcmc.largest_learning_rate(3.0, delay=delay)
    assert found == pytest.approx(wanted / 3, rel=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99])
def test_one_step_late_the_limit_is_one_minus_the_momentum(momentum):
    found = jd.sgmcmc.largest_learning_rate(1.0, momentum, 1)
    assert found == pytest.approx(1 - momentum, rel=1e-9)


@pytest.mark.parametrize(("momentum", "delay"), [(0.9, 0), (0.5, 3)])
def test_optax_is_stable_below_and_not_above(momentum, delay):
    limit = jd.sgmcmc.largest_learning_rate(2.0, momentum, delay)

    def end(rate):
        tx = optax.chain(
            jd.delay_updates(delay, warm_up="oldest"),
            optax.sgd(rate, momentum=momentum),
        )

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(2 * params, state)
            return (params + updates, state), None

        start = jnp.ones(()), tx.init(jnp.ones(()))
        return jnp.abs(jax.lax.scan(step, start, None, 4000)[0][0])

    assert end(0.98 * limit) < 1e-3
    assert not end(1.02 * limit) < 1e3
