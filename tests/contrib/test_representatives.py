"""Representatives: the greedy choice, ties, and points that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets

import jaxdist as jd
from tests import harness


def distances_of(points):
    """Return the distances ``[W, W]`` of points ``[W, n]``, as NumPy finds them."""
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))


def greedy(distances, num):
    """Return indices and weights as the definition says."""
    chosen: list[int] = []
    for _ in range(num):
        costs = [
            np.inf if s in chosen else distances[:, [*chosen, s]].min(axis=1).sum()
            for s in range(len(distances))
        ]
        chosen.append(int(np.argmax(costs <= np.min(costs) * (1 + 1e-6))))
    nearest = distances[:, chosen].argmin(axis=1)
    return np.array(chosen), np.bincount(nearest, minlength=num)


choose = jax.jit(jd.contrib.representatives, static_argnames="num")


@pytest.mark.parametrize("seed", range(4))
def test_the_greedy_choice(seed):
    points = np.random.default_rng(seed).integers(0, 6, (12, 2)).astype(float)  # ties
    distances = abs(points[:, None] - points[None]).sum(-1)  # sums of integers: exact
    indices, weights = choose(jnp.asarray(distances, jnp.float32), num=5)
    expected = greedy(distances, 5)
    np.testing.assert_array_equal(indices, expected[0])
    np.testing.assert_array_equal(weights, expected[1])


@pytest.mark.parametrize(
    ("power", "expected"),
    [  # what FacilityLocationSelection of apricot 0.6.1 chooses
        (1, [426, 252, 427, 65, 339, 162, 11, 181, 174, 159]),
        (2, [426, 427, 252, 65, 411, 259, 11, 181, 222, 219]),
    ],
)
def test_digits_as_apricot_chooses(power, expected):
    images = datasets.load_digits(return_X_y=True)[0][:500] / 16
    distances = jnp.asarray(distances_of(images) ** power, jnp.float32)
    indices, weights = choose(distances, num=10)
    np.testing.assert_array_equal(indices, expected)
    assert weights.sum() == 500


def test_huge_distances_do_not_overflow():
    distances = np.full((4, 4), 3e38) - np.diag(np.full(4, 3e38))
    distances[2, 3] = distances[3, 2] = 1.0
    np.testing.assert_array_equal(choose(jnp.float32(distances), num=2).indices, [2, 0])


POINTS = np.array([[0.0], [0.1], [np.nan], [5.0], [5.1], [np.nan], [0.2]])


@pytest.mark.parametrize("kind", ["numpy", "zero diagonal", "geometry", "infinite"])
def test_points_that_are_not_finite_are_never_chosen_nor_counted(kind):
    distances = distances_of(POINTS)
    if kind == "zero diagonal":
        np.fill_diagonal(distances, 0)
    if kind == "infinite":
        distances = np.where(np.isnan(distances), np.inf, distances)
    if kind == "geometry":
        geometry = jd.rules.Geometry.of(jnp.float32(POINTS))
        distances = np.sqrt(geometry.squared_distances)
    indices, weights = choose(jnp.float32(distances), num=2)
    np.testing.assert_array_equal(indices, [6, 3])
    np.testing.assert_array_equal(weights, [3, 2])
    indices, weights = choose(jnp.float32(distances), num=7)
    np.testing.assert_array_equal(sorted(indices[:5]), [0, 1, 3, 4, 6])
    np.testing.assert_array_equal(indices[5:], [6, 6])
    np.testing.assert_array_equal(weights, [1] * 5 + [0] * 2)


def test_the_last_finite_point_stands_for_itself():
    distances = np.full((3, 3), np.inf)
    distances[1, 1] = 0
    found = choose(jnp.float32(distances), num=2)
    np.testing.assert_array_equal(found.indices, [1, 1])
    np.testing.assert_array_equal(found.weights, [1, 0])
    nobody = choose(jnp.full((3, 3), jnp.nan), num=2)
    np.testing.assert_array_equal(nobody.weights, [0, 0])


def test_a_missing_distance_counts_as_the_largest():
    distances = distances_of(np.array([[0.0], [1.0], [3.0]]))
    distances[0, 2] = distances[2, 0] = np.nan
    found = choose(
        jnp.float32(distances), num=2
    )  # sums 3, 3, 4 of which 1 is the first
    np.testing.assert_array_equal(found.indices, [0, 2])
    np.testing.assert_array_equal(found.weights, [2, 1])


def test_narrow_and_whole_numbers_count_exactly():
    whole = abs(np.arange(600)[:, None] - np.arange(600))
    for dtype in (jnp.int32, jnp.bfloat16):
        found = choose(jnp.asarray(whole, dtype), num=1)
        assert found.weights.dtype == jnp.float32 and found.weights[0] == 600


def worker(row):
    """Choose representatives of all workers, as each of them does."""
    rows = jax.lax.all_gather(row, harness.AXIS)
    distances = jnp.sqrt(jd.rules.Geometry.of(rows).squared_distances)
    return jd.contrib.representatives(distances, 3)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_all_workers_choose_the_same(backend):
    rows = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    found = harness.run(worker, backend, rows)
    indices, weights = greedy(distances_of(rows), 3)
    np.testing.assert_array_equal(found.indices, np.tile(indices, (8, 1)))
    np.testing.assert_array_equal(found.weights, np.tile(weights, (8, 1)))


def test_arguments():
    with pytest.raises(ValueError, match=r"`num` must be in \[1, 3\], got 4"):
        jd.contrib.representatives(np.zeros((3, 3)), 4)
    with pytest.raises(
        ValueError, match=r"`distances` must be .* got float32 \(3, 2\)"
    ):
        jd.contrib.representatives(np.zeros((3, 2), np.float32), 1)
    with pytest.raises(ValueError, match=r"`distances` must be .* got complex64"):
        jd.contrib.representatives(np.zeros((3, 3), np.complex64), 1)
