"""What workers of a code compute, and of which data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import coding
from jaxdist.recipes import _coded, _gradient
from jaxdist.timing import _clock


def _arrivals(workers, block=None):
    workers = jnp.asarray(workers, jnp.int32)
    return _clock.Arrivals(workers, workers, workers, workers, None, block)


def test_blocks_of_a_repetition_code():
    code = coding.fractional_repetition(4, 1)
    batch = np.arange(8.0)
    found = _coded.take_blocks(code, batch, _arrivals([3, 0], jnp.array([1, 0])))
    np.testing.assert_array_equal(found, [[4, 5, 6, 7], [0, 1, 2, 3]])


def test_a_message_of_a_linear_code_is_a_combination_of_gradients():
    code = coding.cyclic_repetition(5, 2)
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((10, 3)).astype(np.float32)
    factors, parts = _coded.take_blocks(code, batch, _arrivals([4, 1]))
    assert factors.shape == (2, 3)

    def loss(params, block):
        return jnp.mean((block @ params) ** 2)

    message = _coded.loss_of_message(_gradient.checked_loss(loss, False))
    params = jnp.array([1.0, -2.0, 0.5])
    blocks = batch.reshape(5, 2, 3)
    grads = np.stack([jax.grad(loss)(params, block) for block in blocks])
    losses = np.array([loss(params, block) for block in blocks])
    for place, worker in enumerate([4, 1]):
        part = jax.tree.map(lambda leaf, place=place: leaf[place], (factors, parts))
        (_, metrics), found = jax.value_and_grad(message.function, has_aux=True)(
            params, part
        )
        wanted = code.coefficients[worker] @ grads
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        outcome = _coded.own_loss(_gradient.Outcome(jnp.zeros(()), metrics, (), found))
        np.testing.assert_allclose(
            outcome.loss, losses[code.placement[worker]].mean(), rtol=1e-5
        )
        assert outcome.metrics == {}


def test_units_must_divide_the_batch():
    code = coding.uncoded(4, 8)
    with pytest.raises(ValueError, match="a leading axis that the 8 units of uncoded"):
        _coded.take_blocks(code, np.ones(12), _arrivals([0], jnp.array([0])))
