"""The leaves of the kit."""

import numpy as np
import pytest

from jaxdist.testing import _inputs


@pytest.mark.parametrize("kind", _inputs.EXTREME)
def test_leaves_are_finite_float32_and_differ_between_draws(kind):
    leaves = _inputs.draw_leaf(kind, np.random.default_rng(0), 50, (6, 7))
    assert leaves.shape == (50, 6, 7) and leaves.dtype == np.float32
    assert np.isfinite(leaves).all()
    assert len(np.unique(leaves.reshape(50, -1), axis=0)) > 40


def test_kinds_are_what_they_are_called():
    rng = np.random.default_rng(0)
    tiny = np.finfo(np.float32).tiny
    assert (
        np.count_nonzero(_inputs.draw_leaf("one-hot", rng, 9, (20,)), axis=1) == 1
    ).all()
    assert np.abs(_inputs.draw_leaf("huge", rng, 9, (20,))).max() > 1e30
    assert 0 < np.abs(_inputs.draw_leaf("denormal", rng, 9, (20,))).max() < tiny
    assert np.ptp(_inputs.draw_leaf("constant", rng, 9, (20,)), axis=1).max() == 0
    sparse = np.count_nonzero(_inputs.draw_leaf("sparse", rng, 100, (61,)))
    assert 400 < sparse < 800
