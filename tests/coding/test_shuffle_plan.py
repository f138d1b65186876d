"""Shuffle plan: each worker finds its points, bit by bit, for the load of the paper."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

import jaxdist as jd

SCHEMES = ("moving", "static")
WORST = {
    "moving": lambda workers, caches: (workers - 1 - caches) / (caches + 1),
    "static": lambda workers, caches: (workers - caches) / (caches + 1),
}


def decode_all(plan, points, memories):
    """Return the memories after a shuffle; they are what they should be."""
    packets = plan.encode(points)
    found = [plan.decode(w, packets, memory) for w, memory in enumerate(memories)]
    np.testing.assert_array_equal(found, plan.after.fill(points))
    return found


def num_cycles(permutation):
    """Return the cycles of a permutation; what stays is one."""
    left, cycles = set(permutation), 0
    while left:
        cycles += 1
        place = min(left)
        while place in left:
            left.remove(place)
            place = permutation[place]
    return cycles


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("workers", range(1, 6))
def test_every_permutation(workers, scheme):
    points = np.random.default_rng(workers).integers(0, 256, (workers, 7), np.uint8)
    for caches in range(workers):
        storage = jd.coding.coded_storage(workers, caches, scheme=scheme)
        memories, loads = storage.fill(points), []
        for owners in itertools.permutations(range(workers)):
            plan = jd.coding.shuffle_plan(storage, np.array(owners))
            decode_all(plan, points, memories)
            loads.append(plan.load)
            if scheme == "moving":
                cycles = math.comb(num_cycles(owners) - 1, caches + 1)
                expected = math.comb(workers - 1, caches + 1) - cycles
                assert len(plan.packets) == expected
        if workers > 1:
            assert max(loads) == pytest.approx(WORST[scheme](workers, caches))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_six_workers(scheme):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((6, 3))
    for caches in range(6):
        storage = jd.coding.coded_storage(6, caches, scheme=scheme)
        for _ in range(4):
            plan = jd.coding.shuffle_plan(storage, rng.permutation(6))
            decode_all(plan, points, storage.fill(points))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("workers", "each"), [(3, 3), (5, 2)])
def test_shuffles_one_after_another(workers, each, scheme):
    rng = np.random.default_rng(0)
    points = rng.integers(0, 2**32, (workers * each, 5), np.uint32)
    for caches in range(workers):
        first = jd.coding.coded_storage(workers, caches, len(points), scheme)
        storage, memories = first, first.fill(points)
        for _ in range(6):
            owners = rng.permutation(storage.owners)
            plan = jd.coding.shuffle_plan(storage, owners)
            memories, storage = decode_all(plan, points, memories), plan.after
            np.testing.assert_array_equal(storage.owners, owners)
            np.testing.assert_array_equal(storage.points_held, first.points_held)
            assert plan.load <= each * WORST[scheme](workers, caches) + 1e-9
            own = storage.own_points(1, memories[1], like=points)
            np.testing.assert_array_equal(own, points[owners == 1])


def test_the_worked_example():
    storage = jd.coding.coded_storage(3, 1)
    plan = jd.coding.shuffle_plan(storage, np.array([2, 0, 1]))
    labels = [[np.flatnonzero(row)[0] for row in point] for point in storage.labels]
    (packet,) = plan.packets  # half a point serves all three
    found = {(place // 2, int(labels[place // 2][place % 2])) for place in packet}
    assert found == {(0, 1), (1, 2), (2, 0)} and plan.load == 0.5
    two = jd.coding.shuffle_plan(jd.coding.coded_storage(2, 0), np.array([1, 0]))
    assert two.packets == ((0, 1),)


def test_points_that_stay_cost_nothing():
    storage = jd.coding.coded_storage(4, 1, 8)
    plan = jd.coding.shuffle_plan(storage, storage.owners)
    assert plan.load == 0 and not plan.lacks.any()
    half = storage.owners.copy()
    half[::2] = np.roll(half[::2], 1)  # of each worker one point stays
    assert jd.coding.shuffle_plan(storage, half).load == 1.0  # as if there were one


def test_on_links_between_pairs_it_loses():
    storage = jd.coding.coded_storage(8, 1)
    plan = jd.coding.shuffle_plan(storage, np.roll(np.arange(8), 1))
    assert plan.load == 3
    np.testing.assert_allclose(plan.lacks, 6 / 7)


def test_arguments():
    storage = jd.coding.coded_storage(3, 1)
    plan = jd.coding.shuffle_plan(storage, np.array([1, 2, 0]))
    packets, memory = plan.encode(np.zeros(3)), storage.split(np.zeros(3))
    with pytest.raises(ValueError, match="`owners` must give each of 3 workers 1 of 3"):
        jd.coding.shuffle_plan(storage, np.array([1, 1, 0]))
    with pytest.raises(ValueError, match=r"`packets` must be uint8 \(1, 4\)"):
        plan.decode(0, packets[:0], memory)
    with pytest.raises(ValueError, match=r"`memory` must be uint8 \(3, 2, 4\)"):
        plan.decode(0, packets, memory[:1])
    with pytest.raises(ValueError, match="`memory` must be uint8 .* got int64"):
        plan.decode(0, packets, 3)
    with pytest.raises(ValueError, match=r"`worker` must be in \[0, 2\], got -1"):
        plan.decode(-1, packets, memory)
    by_hand = dataclasses.replace(plan, packets=((0,),))
    with pytest.raises(
        ValueError, match="`packets` must tell each worker what it lacks"
    ):
        by_hand.decode(0, packets, memory)
