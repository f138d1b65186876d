"""Draws: the errors of a compressor on many leaves with many keys, summed up."""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from jaxdist.testing import _inputs, _run


class Errors(NamedTuple):
    """Leaves and what became of them, in units of the norm of each leaf."""

    leaves: np.ndarray  # [n, size], of norm 1 (or zero)
    errors: np.ndarray  # [n, size]


class Sums(NamedTuple):
    """Sums over the draws of one kind of leaf."""

    num_draws: int
    totals: np.ndarray  # [m], of the statistics of the errors
    squares: np.ndarray  # [m], of their squares
    weights: np.ndarray  # [m], of the magnitudes with which elements enter
    error: np.ndarray  # [blocks], of the squared error of a block over its square
    error_squares: np.ndarray  # [blocks]
    largest: float  # such error of all blocks in all draws

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums over the draws of both."""
        added = jax.tree.map(operator.add, self, other)
        return added._replace(largest=max(self.largest, other.largest))


def _root_mean_square(leaves: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(leaves**2, axis=1, keepdims=True))


def _largest_elements(leaves: np.ndarray) -> np.ndarray:
    magnitudes = np.abs(leaves)
    return magnitudes == magnitudes.max(axis=1, keepdims=True)


def _outward_error(where: Callable[[np.ndarray], np.ndarray]):
    """Count errors that enlarge an element as positive."""
    return lambda leaves: np.sign(leaves) * where(leaves)


def _quarter_mask(which: int):
    """Return the elements of one quarter of the leaf, outward."""

    def where(leaves):
        index = np.arange(leaves.shape[1]) * 4 // leaves.shape[1]
        return np.broadcast_to(index == which, leaves.shape)

    return _outward_error(where)


def _fixed_signs(leaves: np.ndarray) -> np.ndarray:
    size = leaves.shape[1]
    direction = np.random.default_rng(size).choice([-1.0, 1.0], size)
    return np.broadcast_to(direction, leaves.shape)


_OF_ALL = ("of all elements", "of all elements, outward", "with random signs")
_Weights = dict[str, Callable[[np.ndarray], np.ndarray]]
ALONG = "along the leaf"

# Pooled over the elements of a class, a bias that no single element shows is seen.
_BY_SIGN: _Weights = {
    ALONG: lambda leaves: leaves,
    "of all elements": np.ones_like,
    "of all elements, outward": np.sign,
    "with random signs": _fixed_signs,
    "of the negative elements": lambda leaves: leaves < 0,
    "of the positive elements": lambda leaves: leaves > 0,
    "of the elements that are zero": lambda leaves: leaves == 0,
    "of the largest element, outward": _outward_error(_largest_elements),
}
_BY_SIZE_AND_PLACE: _Weights = {
    "of the elements above twice the root mean square, outward": _outward_error(
        lambda leaves: np.abs(leaves) > 2 * _root_mean_square(leaves)
    ),
    "of the elements below half the root mean square, outward": _outward_error(
        lambda leaves: np.abs(leaves) < 0.5 * _root_mean_square(leaves)
    ),
    "of the first quarter of the elements, outward": _quarter_mask(0),
    "of the second quarter of the elements, outward": _quarter_mask(1),
    "of the third quarter of the elements, outward": _quarter_mask(2),
    "of the last quarter of the elements, outward": _quarter_mask(3),
}


def pool_classes(kind: str, size: int = 0) -> _Weights:
    """Return the weights with which errors are pooled."""
    if _has_runs(size):  # of few draws: what looks at few elements would be too rare
        return {name: _BY_SIGN[name] for name in (ALONG, *_OF_ALL)}
    # Few of the leaves that are nearly all zero have an element in every class.
    return _BY_SIGN if kind in _inputs.MOSTLY_ZERO else _BY_SIGN | _BY_SIZE_AND_PLACE


def _has_runs(size: int) -> bool:
    """Whether errors are also pooled over each of many runs of a leaf."""
    return size >= 16 * _run.LONG_BLOCKS


def class_labels(size: int, kind: str) -> list[str]:
    """Return what the statistics of a kind of leaf are taken of."""
    if _has_runs(size):
        runs = range(1, _run.LONG_BLOCKS + 1)
        places = [f"along run {i} of {_run.LONG_BLOCKS}" for i in runs]
        return [*pool_classes(kind, size), *places]
    alone = kind in _inputs.PER_ELEMENT
    names = [f"of element {i}" for i in range(size)] if alone else []
    return [*pool_classes(kind), *names, *[f"{name}, outward" for name in names]]


def normed_leaf(leaves: np.ndarray, seen: np.ndarray) -> Errors:
    """Divide by the norm of each leaf, which may be 1e30."""
    flat, decoded = (_run.exact_array(x).reshape(len(x), -1) for x in (leaves, seen))
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = np.where(norms > 0, norms, 1.0)
    return Errors(flat / unit, decoded / unit - flat / unit)


def draw_chunks(
    setting: _run.Setting, kind: str, num: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield leaves ``[n, ...]``, chunk after chunk, and the number of the chunk."""
    length = _run.batch_size(setting.size)
    rng = setting.rng(1, place_of(kind))
    for chunk in range(math.ceil(num / length)):
        yield _inputs.draw_leaf(kind, rng, length, setting.shape), chunk


def place_of(kind: str) -> int:
    """Return the number of a kind, of which its randomness is made."""
    return list(_inputs.EXTREME).index(kind)


def _pool_errors(weigh: _Weights, drawn: Errors) -> tuple[np.ndarray, ...]:
    """Return ``[m]`` totals, totals of squares, and weights of what is pooled."""
    leaves, errors = drawn
    weights = [weight(leaves).astype(np.float64) for weight in weigh.values()]
    samples = np.stack([np.einsum("ni,ni->n", w, errors) for w in weights])
    magnitudes = np.array([np.abs(w).sum() for w in weights])
    return samples.sum(axis=1), np.sum(samples**2, axis=1), magnitudes


def _errors_alone(drawn: Errors) -> tuple[np.ndarray, ...]:
    """Return the same of each element, and of each element outward."""
    leaves, errors = drawn
    totals = [errors.sum(axis=0), np.sum(np.sign(leaves) * errors, axis=0)]
    squares = np.sum(errors**2, axis=0)
    ones = np.full(2 * errors.shape[1], float(len(errors)))
    return np.concatenate(totals), np.concatenate([squares, squares]), ones


def _errors_by_run(drawn: Errors) -> tuple[np.ndarray, ...]:
    """Return the same along each of many runs of the leaf."""
    leaves, errors = drawn
    products = _run.block_rows(leaves * errors, _run.LONG_BLOCKS).sum(axis=-1)
    magnitudes = _run.block_rows(np.abs(leaves), _run.LONG_BLOCKS).sum(axis=(0, 2))
    return products.sum(axis=0), np.sum(products**2, axis=0), magnitudes


def _sums_of(drawn: Errors, kind: str, blocks: int, *, bias: bool) -> Sums:
    """Sum up one chunk; the statistics of the errors only where bias is asked for."""
    groups = [(np.zeros(0),) * 3]
    if bias:
        weigh = pool_classes(kind, drawn.leaves.shape[1])
        groups.append(_pool_errors(weigh, drawn))
    if bias and _has_runs(drawn.leaves.shape[1]):
        groups.append(_errors_by_run(drawn))
    elif bias and kind in _inputs.PER_ELEMENT:
        groups.append(_errors_alone(drawn))
    totals, squares, weights = (np.concatenate(x) for x in zip(*groups, strict=True))
    ratios = _error_ratios(drawn, blocks)
    finite = np.where(np.isfinite(ratios), ratios, 0)
    return Sums(
        len(ratios),
        totals,
        squares,
        weights,
        error=finite.sum(axis=0),
        error_squares=np.sum(finite**2, axis=0),
        largest=float(np.max(np.where(np.isnan(ratios), np.inf, ratios))),
    )


def _error_ratios(drawn: Errors, blocks: int) -> np.ndarray:
    """Return ``[n, blocks]``: the squared error of each block over its square."""
    wanted, made = (
        np.sum(_run.block_rows(x, blocks) ** 2, axis=-1)
        for x in (drawn.leaves, drawn.errors)
    )
    of_zeros = np.where(made == 0, 0.0, np.inf)
    return np.where(wanted > 0, made / np.where(wanted > 0, wanted, 1.0), of_zeros)


@functools.lru_cache(maxsize=128)
def error_sums(setting: _run.Setting, kind: str, blocks: int) -> Sums:
    """Draw leaves of a kind and keys, each used once, and sum up the errors."""
    has_density = kind in _inputs.SMOOTH or kind in _inputs.LONG
    bias = setting.compressor.contract.unbiased and has_density
    step, parts = setting.keys(1, place_of(kind)), []
    with _run.on_inputs(_run.describe_leaf(kind, setting.like(), blocks)):
        for leaves, chunk in draw_chunks(setting, kind, setting.num_draws):
            keys = _run.many_steps(step, len(leaves), chunk)
            seen = _run.seen_leaves(setting.compressor, leaves, keys, blocks)
            parts.append(_sums_of(normed_leaf(leaves, seen), kind, blocks, bias=bias))
    return functools.reduce(Sums.plus, parts)
