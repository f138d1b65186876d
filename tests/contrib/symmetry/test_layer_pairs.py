"""Moves of hidden units against their definition, and what they leave as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

import jaxdist as jd
from tests.contrib.symmetry import problems

ACTION = jd.contrib.symmetry.layer_pairs(problems.SLOPE)


def random_amounts(params, size, seed=0):
    """Return amounts of this Frobenius norm in all."""
    rng = np.random.default_rng(seed)
    amounts = [rng.standard_normal(x.shape) for x in ACTION.start(params)]
    norm = np.sqrt(sum((x**2).sum() for x in amounts))
    dtype = params[0].dtype
    return [jnp.asarray(size * x / norm, dtype) for x in amounts]


def moved_by_definition(params, amounts, inputs):
    """Return the kernels after a move, with SciPy."""
    kernels = [np.asarray(kernel) for kernel in params]
    for place, amount in enumerate(amounts):
        units = inputs @ kernels[place]
        hidden = np.where(units > 0, units, problems.SLOPE * units)
        mixed = hidden @ linalg.expm(np.asarray(amount))
        wanted = np.where(mixed > 0, mixed, mixed / problems.SLOPE)
        kernels[place] = kernels[place] + linalg.pinv(inputs) @ (wanted - units)
        kernels[place + 1] = linalg.expm(-np.asarray(amount)) @ kernels[place + 1]
        inputs = mixed
    return kernels


def test_the_move_is_its_definition():
    with jax.enable_x64(True):
        params, batch = problems.regression(0, jnp.float64)
        amounts = random_amounts(params, 0.5)
        found = ACTION.move(amounts, params, batch)
        expected = moved_by_definition(params, amounts, np.asarray(batch[0]))
        nothing = ACTION.move(ACTION.start(params), params, batch)
        before, after = (problems.outputs(p, batch[0]) for p in (params, found))
    for own, other, start in zip(found, expected, params, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10)
        assert np.max(abs(np.asarray(own - start))) > 0.01
    np.testing.assert_allclose(after, before, rtol=1e-12)
    for own, start in zip(nothing, params, strict=True):
        np.testing.assert_array_equal(own, start)


def test_small_moves_change_little_for_other_inputs():
    """The form of the paper forgets what kernels do outside of the batch."""
    params, batch = problems.regression(1, jnp.float32)
    others = jnp.asarray(np.random.default_rng(2).uniform(size=(50, 5)), jnp.float32)
    moved = ACTION.move(random_amounts(params, 5e-5), params, batch)
    before, after = (problems.outputs(p, others) for p in (params, moved))
    change = jnp.linalg.norm(after - before) / jnp.linalg.norm(before)
    assert 0 < change < 1e-4


def test_the_order_of_the_layers_is_that_of_their_names_or_as_told():
    kernels, batch = problems.regression(0, jnp.float32)
    amounts = random_amounts(kernels, 0.1)
    expected = ACTION.move(amounts, kernels, batch)
    names = ["layer2", "layer10", "layer11"]
    found = ACTION.move(amounts, dict(zip(names, kernels, strict=True)), batch)
    np.testing.assert_array_equal([*found], [*sorted(names)])
    for name, kernel in zip(names, expected, strict=True):
        np.testing.assert_array_equal(found[name], kernel)
    order = ["z", "a", "b"]
    told = jd.contrib.symmetry.layer_pairs(
        problems.SLOPE, inputs=lambda batch: batch["x"], order=order
    )
    params = dict(zip(order, kernels, strict=True))
    found = told.move(amounts, params, {"x": batch[0]})
    for name, kernel in zip(order, expected, strict=True):
        np.testing.assert_array_equal(found[name], kernel)


@pytest.mark.parametrize(
    "params",
    [
        [jnp.ones((2, 3))],
        [jnp.ones((2, 3)), jnp.ones((2, 3))],
        {"a": jnp.ones((2, 3)), "b": jnp.ones(3), "c": jnp.ones((3, 1))},
    ],
    ids=["one layer", "no chain", "biases"],
)
def test_networks_that_are_no_chain_of_kernels(params):
    with pytest.raises(ValueError, match="`params` must be two or more kernels"):
        ACTION.start(params)


def test_batches_that_no_move_could_keep():
    params = [jnp.ones((4, 3)), jnp.ones((3, 2)), jnp.ones((2, 1))]
    amounts = ACTION.start(params)
    with pytest.raises(ValueError, match="`batch` must have at most 3 examples"):
        ACTION.move(amounts, params, (jnp.ones((4, 4)), None))
    with pytest.raises(ValueError, match=r"`inputs` must return an array \[n, 4\]"):
        ACTION.move(amounts, params, (jnp.ones(4), None))
    wrong = jd.contrib.symmetry.layer_pairs(order=["0", "1"])
    with pytest.raises(ValueError, match="`order` must hold"):
        wrong.start(params)
