"""Running moments: unbiased numbers, and which steps they leave out."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.diagnostics import _running_moments
from jaxdist.workers import _moments


def moments(mean_square, square_of_mean, number, axis_name="data"):
    numbers = (jnp.float32(mean_square), jnp.float32(square_of_mean))
    return _moments.Moments(axis_name, *numbers, jnp.asarray(number, jnp.int32))


def after(*steps, decay=0.9):
    running = _running_moments.start_moments()
    for step in steps:
        running = _running_moments.add_moments(running, step, decay)
    return running


def test_means_are_those_of_the_formula():
    """A = 5, M = 2, W = 4: S = 4, G = 1; and again with other numbers."""
    running = after(moments(5, 2, 4), moments(9, 3, 3))
    np.testing.assert_allclose(running.spread, 0.1 * (0.9 * 4 + 9), rtol=1e-6)
    np.testing.assert_allclose(running.signal, 0.1 * (0.9 * 1 + 0), rtol=1e-6)
    np.testing.assert_allclose(running.weight, 0.19, rtol=1e-6)
    assert running.num_workers == 3


@pytest.mark.parametrize(
    "step",
    [
        moments(np.nan, 1, 4),
        moments(5, np.inf, 4),
        moments(5, 5, 1),  # nobody to compare with
        moments(0, 0, 4),  # a step that was skipped
        moments(0, 0, 0),
    ],
)
def test_steps_that_tell_nothing_change_nothing(step):
    before = after(moments(5, 2, 4))
    now = _running_moments.add_moments(before, step, 0.9)
    np.testing.assert_array_equal(np.stack(now[:3]), np.stack(before[:3]))
    assert now.num_workers == 4


def test_leaves_apart_are_one_gradient():
    whole = _running_moments.sum_of_noted(
        "x", "data", [moments(5, 2, 4), moments(1, 1, 4)]
    )
    assert (whole.mean_square, whole.square_of_mean, whole.num_workers) == (6, 3, 4)


@pytest.mark.parametrize(
    "noted", [[], [moments(1, 1, 2, "pod")], [moments(1, 1, 2), moments(1, 1, 2, "p")]]
)
def test_other_axes_are_refused(noted):
    with pytest.raises(ValueError, match="`inner` of x must hold.*over `axis_name`"):
        _running_moments.sum_of_noted("x", "data", noted)
