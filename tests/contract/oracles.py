"""Rules restated from their papers in NumPy and float64: slow, plain, and ours alone.

Every function maps rows ``[W, d]`` to ``[d]``; rows are finite and without ties.
"""

import itertools

import numpy as np


def squared_distances(rows):
    """Return ``[W, W]``."""
    return ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)


def mean(rows):
    return rows.mean(axis=0)


def median(rows):
    return np.median(rows, axis=0)


def trimmed_mean(num_byzantine):
    def rule(rows):
        kept = np.sort(rows, axis=0)[num_byzantine : len(rows) - num_byzantine]
        return kept.mean(axis=0)

    return rule


def krum_scores(rows, num_neighbours):
    """Return ``[W]``."""
    distances = squared_distances(rows)
    nearest = [np.sort(np.delete(distances[i], i)) for i in range(len(rows))]
    return np.array([d[:num_neighbours].sum() for d in nearest])


def krum(num_byzantine):
    return multi_krum(num_byzantine, 1)


def multi_krum(num_byzantine, num_selected=None):
    def rule(rows):
        scores = krum_scores(rows, len(rows) - num_byzantine - 2)
        return rows[np.argsort(scores)[: num_selected or -num_byzantine]].mean(axis=0)

    return rule


def chosen_by_krum(rows, num_byzantine, number):
    """Return the best of those left, again and again, ``[number, d]``."""
    chosen = []
    for _ in range(number):
        num_neighbours = max(len(rows) - num_byzantine - 2, 1)
        to_all = squared_distances(rows).sum(axis=1)
        best = np.lexsort((to_all, krum_scores(rows, num_neighbours)))[0]
        chosen.append(rows[best])
        rows = np.delete(rows, best, axis=0)
    return np.array(chosen)


def iterated_krum(num_byzantine, num_selected):
    def rule(rows):
        return chosen_by_krum(rows, num_byzantine, num_selected).mean(axis=0)

    return rule


def bulyan(num_byzantine):
    def rule(rows):
        theta = len(rows) - 2 * num_byzantine
        chosen = chosen_by_krum(rows, num_byzantine, theta)
        away = np.abs(chosen - np.median(chosen, axis=0))
        nearest = np.lexsort((chosen, away), axis=0)
        kept = nearest[: theta - 2 * num_byzantine]
        return np.take_along_axis(chosen, kept, axis=0).mean(axis=0)

    return rule


def nnm(num_byzantine, then):
    def rule(rows):
        nearest = np.argsort(squared_distances(rows), axis=1)
        return then(rows[nearest[:, : len(rows) - num_byzantine]].mean(axis=1))

    return rule


def best_subset(num_byzantine, cost):
    """Average the first subset of W - f workers with the smallest cost."""

    def rule(rows):
        size = len(rows) - num_byzantine
        subsets = itertools.combinations(range(len(rows)), size)
        return min((rows[list(s)] for s in subsets), key=cost).mean(axis=0)

    return rule


def minimum_diameter(num_byzantine):
    return best_subset(num_byzantine, lambda rows: squared_distances(rows).max())


def minimum_variance(num_byzantine):
    return best_subset(num_byzantine, lambda rows: rows.var(axis=0).sum())


def smea(num_byzantine):
    def largest_eigenvalue(rows):
        centred = rows - rows.mean(axis=0)
        return np.linalg.eigvalsh(centred @ centred.T)[-1]

    return best_subset(num_byzantine, largest_eigenvalue)


def geometric_median(rows):
    point = rows.mean(axis=0)
    for _ in range(1000):
        weights = 1 / np.linalg.norm(rows - point, axis=1)
        point = weights @ rows / weights.sum()
    return point


def centered_clipping(radius, iterations):
    """Start at 0, as at the first step."""

    def rule(rows):
        point = np.zeros_like(rows[0])
        for _ in range(iterations):
            away = rows - point
            norms = np.linalg.norm(away, axis=1, keepdims=True)
            point = point + (away * np.minimum(1, radius / norms)).mean(axis=0)
        return point

    return rule


def nearest_to(centre, number):
    """Average those that are nearest to ``centre(rows)``."""

    def rule(rows):
        away = np.linalg.norm(rows - centre(rows), axis=1)
        return rows[np.argsort(away)[: number(len(rows))]].mean(axis=0)

    return rule


def cge(num_byzantine):
    return nearest_to(np.zeros_like, lambda n: n - num_byzantine)


def monna(num_byzantine):
    return nearest_to(lambda rows: rows[0], lambda n: n - num_byzantine)


def aksel():
    return nearest_to(median, lambda n: (n + 1) // 2)


def spectral_rounds(rows, num_byzantine, least=0.0):
    """Yield ``(counts [W], mean [d], largest eigenvalue)`` round by round."""
    counts = np.ones(len(rows))
    while counts.sum() > len(rows) - 2 * num_byzantine or counts.all():
        weights = counts / counts.sum()
        mean = weights @ rows
        scaled = np.sqrt(weights)[:, None] * (rows - mean)
        _, values, directions = np.linalg.svd(scaled, full_matrices=False)
        yield counts, mean, values[0] ** 2
        blame = ((rows - mean) @ directions[0]) ** 2
        counts = counts * (1 - blame / blame[counts > 0].max())
        counts = np.where(counts < least, 0, counts)


def spectral_filter(num_byzantine, deviation, tight=False):
    def rule(rows):
        least = 0.0 if tight else 0.5
        for counts, mean, variance in spectral_rounds(rows, num_byzantine, least):
            share = 1 if tight else counts.sum() / (4 * len(rows))
            result = mean if tight else rows[counts > 0].mean(axis=0)
            if variance * share <= deviation**2:
                break
        return result

    return rule


def caf(num_byzantine):
    def rule(rows):
        rounds = spectral_rounds(rows, num_byzantine)
        return min(rounds, key=lambda found: found[2])[1]

    return rule


def lower_median(rows):
    return np.sort(rows, axis=0)[(len(rows) - 1) // 2]


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
