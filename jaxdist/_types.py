"""The protocols every family speaks: compressors, contracts, aggregation rules."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _tree

AxisName = str | tuple[str, ...]
CompressorState = Any
Payload = Any


def _unbounded(size: int) -> float:
    """A squared error without any bound."""
    del size
    return math.inf


@dataclasses.dataclass(frozen=True)
class Contract:
    r"""What a compressor :math:`C` promises, and what others may rely on.

    Every promise holds for each block on its own, for the state that ``init`` returns
    and for finite inputs in the normal range of their dtype.

    Attributes:
      unbiased: :math:`\mathbb{E}\,C(x) = x` over the keys.
      variance: Maps the number :math:`d` of elements in a block to
        :math:`\omega`, no unit, with
        :math:`\mathbb{E}\|C(x)-x\|^2 \le \omega\|x\|^2`.
      linear: Decoding the mean of the workers' payloads gives the mean of what was
        sent, so that payloads may be summed while they travel.
      splittable: ``encode`` accepts ``blocks > 1``.
      stochastic: The result depends on the keys.
      aligned: All workers keep the same coordinates, so that coordinate-wise rules
        compare like with like.
      projection: Some coordinates of :math:`x`, padded with zeros, in an orthonormal
        basis are sent as they are, and nothing else, so that :math:`C(x)` and
        :math:`x - C(x)` are orthogonal where nothing is padded.
      keeps_zeros: Elements that are zero arrive as zero.
    """

    unbiased: bool = False
    variance: Callable[[int], float] = _unbounded
    linear: bool = False
    splittable: bool = True
    stochastic: bool = False
    aligned: bool = True
    projection: bool = False
    keeps_zeros: bool = False

    def contraction(self, size: int) -> float:
        r"""Return :math:`\delta = 1 - \omega`; a contraction when it is positive.

        :math:`\mathbb{E}\|C(x)-x\|^2 \le (1-\delta)\|x\|^2`.

        Args:
          size: Number :math:`d` of elements in a block.
        """
        return 1.0 - self.variance(size)


class Keys(NamedTuple):
    """The randomness of one encoding, known to the sender and to every receiver."""

    common: jax.Array  # typed key, the same on all workers
    own: jax.Array  # typed key, the sender's own; derived from `common` and its index


class Dialogue(NamedTuple):
    """A mean found in several all-reduces, each built on the means before.

    Attributes:
      rounds: For each all-reduce ``(leaf, state, keys, means) -> payload``, with the
        means of the earlier rounds' payloads. Together the payloads have the shapes of
        what ``encode`` returns.
      finish: ``(leaf, state, keys, means) -> (mean, state)`` with the means of all
        rounds. ``mean`` has the shape of the leaf, its dtype or a wider one, and
        depends on nothing that differs between workers.
    """

    rounds: tuple[Callable[[Any, CompressorState, Keys, tuple], Payload], ...]
    finish: Callable[[Any, CompressorState, Keys, tuple], tuple[Any, CompressorState]]


class Compressor(NamedTuple):
    """What one worker sends instead of one leaf.

    A payload is a pytree of arrays that holds exactly the bytes that travel. Every
    array in it has a leading axis ``blocks``, and each block decodes alone. Block ``j``
    of a leaf is the ``j``-th of ``blocks`` equal runs of its elements in row-major
    order, the last ones padded with zeros.

    Attributes:
      init: ``(leaf) -> state``; ``()`` when there is none.
      encode: ``(leaf, state, keys, blocks) -> (payload, state)``.
      decode: ``(payload, like, keys) -> leaf`` with the shape and dtype of ``like``.
        Takes the keys of the sender. A single block decodes with ``like`` of shape
        ``(block size,)``.
      contract: What it promises.
      name: How reports and errors call it.
      accumulate: ``(total, payload, keys) -> total + decode(payload)`` for
        compressors that can add without decoding densely, or None.
      incremental: What is decoded is to be added to all that the same sender sent
        before; receivers keep that sum, which starts at zero.
      dialogue: How the route psum finds the mean of what cannot be averaged payload by
        payload, or None.
    """

    init: Callable[[Any], CompressorState]
    encode: Callable[[Any, CompressorState, Keys, int], tuple[Payload, CompressorState]]
    decode: Callable[[Payload, Any, Keys], jax.Array]
    contract: Contract
    name: str = "custom"
    accumulate: Callable[[jax.Array, Payload, Keys], jax.Array] | None = None
    incremental: bool = False
    dialogue: Dialogue | None = None

    def __repr__(self):
        return self.name


class LeafPolicy(NamedTuple):
    """Which compressor each leaf gets; made by :func:`jaxdist.by_leaf`.

    Attributes:
      select: ``(path, leaf) -> compressor`` with the path as ``"layer/kernel"``.
      name: How reports and errors call it.
      joint: Compressor whose leaves are compressed as a single vector, or None.
    """

    select: Callable[[str, Any], Compressor]
    name: str = "custom policy"
    joint: Compressor | None = None

    def __repr__(self):
        return self.name


class StepPolicy(NamedTuple):
    """Which compressor is used when; made by :func:`jaxdist.by_step`.

    Attributes:
      starts: The first step of each stage, ascending from 0.
      stages: The compressor or leaf policy of each stage.
      name: How reports and errors call it.
    """

    starts: tuple[int, ...]
    stages: tuple[Compressor | LeafPolicy, ...]
    name: str

    def __repr__(self):
        return self.name


AnyCompressor = Compressor | LeafPolicy | StepPolicy

_CACHED = 4096  # columns whose W rows stay in cache while all pairs are compared


def _squared_distances(rows: jax.Array) -> jax.Array:
    """Return ``[W, W]`` for few columns."""
    return jnp.sum((rows[:, None] - rows[None]) ** 2, axis=-1)


class Geometry(NamedTuple):
    """How W contributions lie to each other, over the whole gradient."""

    squared_distances: jax.Array  # [W, W], float; inf where a worker is not finite
    squared_norms: jax.Array  # [W], float; inf where a worker is not finite

    @classmethod
    def of(cls, rows: jax.Array) -> "Geometry":
        """Measure the ``[W, n]`` rows, or this shard's part of them.

        Distances are sums of squared differences, never norms minus inner products:
        those cancel when all gradients share a large mean.
        """
        whole = rows.shape[1] // _CACHED * _CACHED

        def add(i, total):
            part = jax.lax.dynamic_slice_in_dim(rows, i * _CACHED, _CACHED, axis=1)
            return total + _squared_distances(part)

        distances = _squared_distances(rows[:, whole:])
        if whole:
            distances = jax.lax.fori_loop(0, whole // _CACHED, add, distances)
        return cls(distances, jnp.sum(rows**2, axis=1))

    def as_matrix(self) -> jax.Array:
        """Return ``[W, W]``: the distances, with the norms on their zero diagonal."""
        return self.squared_distances + jnp.diag(self.squared_norms)

    @classmethod
    def from_matrix(cls, matrix: jax.Array) -> "Geometry":
        """Invert :meth:`as_matrix`."""
        itself = jnp.eye(matrix.shape[0], dtype=bool)
        return cls(jnp.where(itself, 0, matrix), jnp.diagonal(matrix))

    def without_nan(self) -> "Geometry":
        """Put workers that are not finite infinitely far away from all others."""
        distances, norms = (jnp.where(jnp.isnan(x), jnp.inf, x) for x in self)
        return Geometry(distances, norms)


def _any_number_of_workers(num_workers: int) -> None:
    """Accept every number of workers."""


# No tuple: `jax.jit(rule)` needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AggregationRule:
    """How W contributions become one: mix the rows, then reduce them.

    Call it on stacked gradients ``[W, ...]`` without any mesh, or give it to
    :func:`jaxdist.aggregate`.

    Attributes:
      name: How reports and errors call it.
      reduce: ``rows [m, s] -> [s]``, coordinate by coordinate.
      mix: ``(geometry, key) -> weights [m, W]`` with which the rows are mixed first,
        or None. A row of zeros means that nothing can be trusted.
      check: ``(num_workers) -> None``; raises when the rule cannot work with so few.
      linear: The rule is the plain mean.
      needs_aligned: The rule compares coordinates between workers, which is void when
        each of them keeps other coordinates.
    """

    name: str
    reduce: Callable[[jax.Array], jax.Array]
    mix: Callable[[Geometry, jax.Array], jax.Array] | None = None
    check: Callable[[int], None] = _any_number_of_workers
    linear: bool = False
    needs_aligned: bool = False

    def __repr__(self):
        return self.name

    def __call__(self, stacked: Any, key: jax.Array | None = None) -> Any:
        """Aggregate stacked gradients.

        Args:
          stacked: Pytree of arrays ``[W, ...]``.
          key: Typed key for rules that draw; a fixed one when None.

        Returns:
          Pytree of arrays ``[...]`` with the dtypes of ``stacked``.

        Raises:
          ValueError: If the leaves disagree on W or the rule cannot work with W.
        """
        leaves, treedef = jax.tree.flatten(stacked)
        if not leaves:
            return stacked
        num_workers = _shared_leading_axis(leaves)
        self.check(num_workers)
        dtype = _tree.accumulator_dtype(*(leaf.dtype for leaf in leaves))
        rows = jnp.concatenate(
            [leaf.reshape(num_workers, -1).astype(dtype) for leaf in leaves], axis=1
        )
        key = jax.random.key(0) if key is None else key
        geometry = None if self.mix is None else Geometry.of(rows)
        merged = self.apply(rows, geometry, key)
        parts = _tree.split(merged, (math.prod(leaf.shape[1:]) for leaf in leaves))
        return treedef.unflatten(
            part.reshape(leaf.shape[1:]).astype(leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        )

    def apply(
        self, rows: jax.Array, geometry: Geometry | None, key: jax.Array
    ) -> jax.Array:
        """Turn the rows ``[W, s]`` of one shard into one ``[s]``.

        Args:
          rows: The workers' contributions to this shard, at least float32.
          geometry: Of the whole gradient, not of this shard; None for rules that do
            not mix.
          key: Typed key, the same on all shards.
        """
        if self.mix is None or geometry is None:
            return self.reduce(rows)
        weights = self.mix(geometry.without_nan(), key).astype(rows.dtype)
        return self.reduce(_mixed(weights, rows))


def _mixed(weights: jax.Array, rows: jax.Array) -> jax.Array:
    """Return ``weights [m, W] @ rows [W, s]``, deaf to rows without weight."""
    # A weight of zero does not silence a NaN; rows that hold one have no weight.
    if weights.shape[0] > 1:
        finite = jnp.where(jnp.isfinite(rows), rows, 0)
        return jnp.matmul(weights, finite, precision="highest")
    # A single row is a sum that fuses, where a product would copy all rows first.
    terms = (
        weights[:, i : i + 1] * jnp.where(jnp.isfinite(row), row, 0)
        for i, row in enumerate(jnp.split(rows, rows.shape[0]))
    )
    return functools.reduce(operator.add, terms)


def _shared_leading_axis(leaves: list[jax.Array]) -> int:
    """Return W, the number of rows that all leaves have."""
    sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in leaves}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "`stacked` must hold arrays [W, ...] that agree on W, the number of "
            f"workers; the leaves have leading axes {sorted(sizes)}."
        )
    return sizes.pop()
