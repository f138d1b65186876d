"""Every code gives back the sum of all gradients, in time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.coding import problem
from tests.contract import table

EVERY = pytest.mark.parametrize("code", table.CODES, ids=table.names(table.CODES))


def many_sets(code, most=400):
    """Return sets of workers that arrive, bool ``[n, W]``: all, or the first."""
    every = itertools.product([True, False], repeat=code.num_workers)
    return np.array(list(itertools.islice(every, most)))


@EVERY
def test_the_sum_is_that_of_the_full_batch(code):
    exact = problem.unit_gradients(code.num_units).sum(axis=0)
    scale = np.abs(exact).max()
    arrived = many_sets(code)
    decoded = jax.jit(jax.vmap(code.decode))(arrived)
    assert decoded.covered[0]
    for weights in decoded.weights[decoded.covered][:40]:
        found = problem.decoded_sum(code, weights)
        np.testing.assert_allclose(found, exact, rtol=0, atol=2e-5 * scale)


@EVERY
def test_who_is_missing_has_no_weight(code):
    arrived = many_sets(code)
    decoded = jax.jit(jax.vmap(code.decode))(arrived)
    weights = np.asarray(decoded.weights).reshape(*arrived.shape, -1)
    assert weights.dtype == np.float32
    assert not weights[~arrived].any()
    if code.coefficients is None:
        covered = [code.placement[row].any(axis=0).all() for row in arrived]
        assert set(np.unique(weights)) <= {0, 1}
    else:
        covered = arrived.sum(axis=1) >= code.threshold
        assert not weights[~np.array(covered)].any()
    np.testing.assert_array_equal(decoded.covered, covered)


@EVERY
def test_any_so_many_workers_are_enough(code):
    if code.threshold is None:
        return
    arrived = many_sets(code)
    enough = arrived.sum(axis=1) >= code.threshold
    assert jax.jit(jax.vmap(code.decode))(arrived).covered[enough].all()


@EVERY
def test_the_moment_is_the_first_at_which_it_can_be_decoded(code):
    rng = np.random.default_rng(0)
    times = rng.exponential(size=(30, code.num_workers)).astype(np.float32)
    times[rng.random(times.shape) < 0.1] = np.inf
    moments = jax.jit(jax.vmap(code.finish_time))(times)[:, None]
    known = jax.jit(jax.vmap(code.decode))(times <= moments).covered
    np.testing.assert_array_equal(known, True)  # infinity counts as a moment here
    assert (
        not jax.jit(jax.vmap(code.decode))(times < moments)
        .covered[np.isfinite(moments[:, 0])]
        .any()
    )
    never = ~np.isfinite(moments[:, 0])
    assert not jax.jit(jax.vmap(code.decode))(np.isfinite(times)).covered[never].any()


@EVERY
def test_compiled_programs_say_what_plain_calls_say(code):
    times = jnp.arange(code.num_workers, 0, -1.0)
    for method, value in ((code.finish_time, times), (code.decode, times > 1)):
        plain, compiled = method(value), jax.jit(method)(value)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, compiled
        )


@EVERY
def test_what_a_code_says_about_itself(code):
    assert repr(code) == code.name
    assert code.covers
    assert code.block_sizes.sum() == code.num_units
    assert code.loads.shape == code.num_messages.shape == (code.num_workers,)
    assert code.loads.sum() >= code.num_units
    assert np.all(code.num_messages >= 1)


@EVERY
def test_arrays_of_another_number_of_workers_are_refused(code):
    wrong = np.ones(code.num_workers + 1, np.float32)
    shape = rf"\({code.num_workers},\)"
    with pytest.raises(ValueError, match=rf"`arrived` must be of shape {shape}"):
        code.decode(wrong > 0)
    with pytest.raises(ValueError, match=rf"`finish_times` must .* {shape}.*got"):
        code.finish_time(wrong)
