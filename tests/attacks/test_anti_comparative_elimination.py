"""Against comparative gradient elimination."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def test_opposite_of_what_is_kept_and_just_short_enough():
    honest, bad = cases.attacked(jd.attacks.anti_comparative_elimination())
    norms = np.linalg.norm(honest, axis=1)
    order = np.argsort(norms)
    kept = honest[order[: len(honest) - 2]].sum(axis=0)
    expected = -kept / np.linalg.norm(kept) * norms[order[len(honest) - 2]]
    cases.assert_all_send(bad, expected, rtol=1e-4)
    assert np.linalg.norm(bad[0]) < norms[order[len(honest) - 2]]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_elimination_keeps_all_attackers(scale):
    honest, bad = cases.attacked(
        jd.attacks.anti_comparative_elimination(), cases.updates(1, 0.3 * scale, scale)
    )
    rows = np.concatenate([honest, bad]).astype(np.float32)
    kept = np.argsort(np.linalg.norm(rows, axis=1))[: cases.NUM_HONEST]
    assert set(range(cases.NUM_HONEST, cases.NUM_WORKERS)) <= set(kept)
    aggregate = rows[kept].mean(axis=0)
    assert aggregate @ honest.mean(axis=0) < honest[kept[kept < 7]].sum(axis=0) @ (
        honest.mean(axis=0) / cases.NUM_WORKERS
    )


def test_zero_updates_stay_zero():
    _, bad = cases.attacked(
        jd.attacks.anti_comparative_elimination(), jnp.zeros((9, 3))
    )
    np.testing.assert_array_equal(bad, 0)


def test_fewer_than_half_attack():
    with pytest.raises(ValueError, match=r"`num_byzantine` must lie in \[0, 1\]"):
        jd.attacks.anti_comparative_elimination()(jnp.ones((4, 2)), 2)
