"""Rules restated from their papers in NumPy and float64: slow, plain, and ours alone.

Every function maps rows ``[W, d]`` to ``[d]``; rows are finite and without ties.
"""

import numpy as np


def squared_distances(rows):
    """Return ``[W, W]``."""
    return ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)


def mean(rows):
    return rows.mean(axis=0)


def median(rows):
    return np.median(rows, axis=0)


def lower_median(rows):
    return np.sort(rows, axis=0)[(len(rows) - 1) // 2]


def trimmed_mean(num_byzantine):
    def rule(rows):
        kept = np.sort(rows, axis=0)[num_byzantine : len(rows) - num_byzantine]
        return kept.mean(axis=0)

    return rule


def fraction_trimmed_mean(tenths):
    """Trim a number of tenths of the workers, rounded up."""

    def rule(rows):
        return trimmed_mean(-(-tenths * len(rows) // 10))(rows)

    return rule


def mean_around(centre, num_byzantine):
    """Average in each coordinate what is nearest to the centre; smaller wins ties."""

    def rule(rows):
        rows = np.sort(rows, axis=0)
        order = np.argsort(np.abs(rows - centre(rows)), axis=0, kind="stable")
        nearest = order[: len(rows) - num_byzantine]
        return np.take_along_axis(rows, nearest, axis=0).mean(axis=0)

    return rule


def meamed(num_byzantine):
    return mean_around(median, num_byzantine)


def phocas(num_byzantine):
    return mean_around(trimmed_mean(num_byzantine), num_byzantine)


def krum(num_byzantine):
    def rule(rows):
        distances = squared_distances(rows)
        num_neighbours = len(rows) - num_byzantine - 2
        scores = [
            np.sort(np.delete(distances[i], i))[:num_neighbours].sum()
            for i in range(len(rows))
        ]
        return rows[np.argmin(scores)]

    return rule


def nnm(num_byzantine, then):
    def rule(rows):
        nearest = np.argsort(squared_distances(rows), axis=1)
        return then(rows[nearest[:, : len(rows) - num_byzantine]].mean(axis=1))

    return rule


def sign_majority(rows):
    return np.sign(np.sign(rows).sum(axis=0))


def bucketing(bucket_size, places, then):
    """Average the workers of each bucket; ``places`` says how they are permuted."""

    def rule(rows):
        bucket = places(len(rows)) // bucket_size
        return then(np.stack([rows[bucket == own].mean(axis=0) for own in bucket]))

    return rule


def clip(rows, radius):
    """Return the rows, none longer than the radius."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, radius / lengths)


def clipping(radius, then):
    return lambda rows: then(clip(rows, radius))


def arc(num_byzantine, then):
    def rule(rows):
        num_clipped = 2 * num_byzantine * (len(rows) - num_byzantine) // len(rows)
        shortest_first = np.sort(np.linalg.norm(rows, axis=1))
        return then(clip(rows, shortest_first[len(rows) - num_clipped - 1]))

    return rule


def fltrust(rows):
    """The reference is all ones; where nobody agrees with it the result is 0."""
    reference = np.ones(rows.shape[1])
    lengths = np.linalg.norm(rows, axis=1)
    cosines = rows @ reference / lengths / np.linalg.norm(reference)
    trust = np.maximum(cosines, 0)
    rescaled = rows * (np.linalg.norm(reference) / lengths)[:, None]
    return trust @ rescaled / (trust.sum() or 1)


def zeno(num_byzantine, learning_rate, penalty):
    """The reference is all ones."""

    def rule(rows):
        scores = learning_rate * rows.sum(axis=1) - penalty * (rows**2).sum(axis=1)
        return rows[np.argsort(-scores)[: len(rows) - num_byzantine]].mean(axis=0)

    return rule


def dnc(num_byzantine):
    def rule(rows):
        centred = rows - rows.mean(axis=0)
        direction = np.linalg.svd(centred, full_matrices=False)[2][0]
        scores = (centred @ direction) ** 2
        return rows[np.argsort(scores)[: len(rows) - num_byzantine]].mean(axis=0)

    return rule


def clipped_clustering(rows):
    """The first step, at which only its own norms are known."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distances = ((unit[:, None] - unit[None]) ** 2).sum(axis=-1) / 2
    clusters = [[i] for i in range(len(rows))]
    while len(clusters) > 2:
        pairs = [(i, j) for j in range(len(clusters)) for i in range(j)]
        i, j = min(
            pairs,
            key=lambda p: distances[np.ix_(clusters[p[0]], clusters[p[1]])].mean(),
        )
        clusters[i] += clusters.pop(j)
    clipped = clip(rows, np.median(np.linalg.norm(rows, axis=1)))
    return clipped[max(clusters, key=len)].mean(axis=0)
