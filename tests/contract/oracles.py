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
    """Average in each coordinate the values nearest to the centre, first the smaller."""

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
