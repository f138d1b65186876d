"""Coded storage: who holds what, and that bytes are put together as they were."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

CASES = [(k, c) for k in range(1, 6) for c in range(k)]


@pytest.mark.parametrize(("workers", "caches"), CASES)
def test_room_is_what_the_formula_says(workers, caches):
    moving = jd.coding.coded_storage(workers, caches, 2 * workers)
    assert moving.num_parts == math.comb(workers - 1, caches)
    np.testing.assert_allclose(moving.points_held, 2 * (1 + caches))
    static = jd.coding.coded_storage(workers, caches, 2 * workers, "static")
    assert static.num_parts == math.comb(workers, caches)
    room = 1 + caches * (workers - 1) / workers
    np.testing.assert_allclose(static.points_held, 2 * room)
    for storage in (moving, static):
        assert storage.num_caches == caches
        whole = storage.held.all(axis=2)  # [K, N]
        own = storage.owners == np.arange(workers)[:, None]
        assert np.all(whole[own]) and (
            caches == workers - 1 or whole.sum() == own.sum()
        )


def test_labels_are_all_sets_without_the_owner():
    storage = jd.coding.coded_storage(4, 2)
    for owner in range(4):
        sets = [tuple(np.flatnonzero(label)) for label in storage.labels[owner]]
        others = [worker for worker in range(4) if worker != owner]
        assert sets == list(itertools.combinations(others, 2))


@pytest.mark.parametrize(
    "points",
    [
        np.arange(4, dtype=np.int64),
        np.array([[np.nan, -0.0, np.inf]] * 4),
        np.arange(4 * 15, dtype=np.float32).reshape(4, 3, 5).transpose(0, 2, 1),
        np.array([[True, False]] * 4),
        np.zeros((4, 0)),
        np.array(jnp.arange(12, dtype=jnp.bfloat16).reshape(4, 3)),
        np.array([(1, 2.5)] * 4, dtype=[("a", "i1"), ("b", "f4")]),
    ],
)
def test_points_of_any_dtype_come_back(points):
    storage = jd.coding.coded_storage(4, 2)
    for worker, memory in enumerate(storage.fill(points)):
        own = storage.own_points(worker, memory, like=points)
        assert own.dtype == points.dtype and own.shape == (1, *points.shape[1:])
        assert own.tobytes() == points[worker : worker + 1].tobytes()


def test_memories_hold_no_more_than_they_may():
    storage = jd.coding.coded_storage(3, 1)
    memories = storage.fill(np.full((3, 4), 255, np.uint8))
    np.testing.assert_array_equal(memories.any(axis=-1), storage.held)


def test_arguments():
    with pytest.raises(ValueError, match="multiple of 4 workers, got 6"):
        jd.coding.coded_storage(4, 1, 6)
    storage = jd.coding.coded_storage(4, 1)
    with pytest.raises(
        ValueError, match=r"`points` .* of 4 points, got float64 \(3,\)"
    ):
        storage.split(np.zeros(3))
    with pytest.raises(ValueError, match="`points` must be .* got object"):
        storage.fill(np.array([None] * 4))
    with pytest.raises(ValueError, match=r"`worker` must be in \[0, 3\], got 4"):
        storage.own_points(4, storage.split(np.zeros(4)), np.zeros(4))
