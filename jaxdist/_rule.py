"""Aggregation rules: how W contributions become one."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _geometry, _tree

_SMALL_PRODUCT = 16 * 16  # weights of a product that is written out
_CACHED = 2**14  # elements, of all rows, that are reduced before the next


def _less_than_half(num_workers: int) -> int:
    """Return the largest minority."""
    return (num_workers - 1) // 2


def _unbounded(num_workers: int, num_byzantine: int) -> float:
    """A constant of robustness that nobody has proved."""
    del num_workers, num_byzantine
    return math.inf


def always(number: int) -> Callable[[int], int]:
    """Return the function of the number of workers that does not depend on it."""
    return lambda num_workers: number


Mix = Callable[[_geometry.Geometry, jax.Array, Any], tuple[jax.Array, Any]]


@dataclasses.dataclass(frozen=True)
class RuleContract:
    r"""What a rule :math:`F` promises of W workers, f of them Byzantine.

    Attributes:
      num_byzantine: ``(num_workers) -> f`` tolerated, or None where nothing is
        promised. When more workers than that are not finite, the result is 0.
      largest: ``(num_workers) -> f``, the most for which the rule is defined.
      limit: ``largest`` in words, for tables.
      kappa: ``(num_workers, num_byzantine) -> kappa`` that is proved, no unit: for
        every set :math:`S` of :math:`W - f` workers
        :math:`\|F(x) - \bar{x}_S\|^2 \le \frac{\kappa}{|S|}\sum_{i\in S}
        \|x_i - \bar{x}_S\|^2`.
      translation_equivariant: The same vector added to all workers is added to the
        result.
      scale_equivariant: A positive number that multiplies all workers multiplies the
        result.
      in_hull: Each coordinate of the result lies between those of any
        :math:`W - f` workers.
      symmetric: The order of the workers does not matter.
    """

    num_byzantine: Callable[[int], int] | None = None
    largest: Callable[[int], int] = _less_than_half
    limit: str = "f < W/2"
    kappa: Callable[[int, int], float] = _unbounded
    translation_equivariant: bool = True
    scale_equivariant: bool = True
    in_hull: bool = False
    symmetric: bool = True

    def tolerated(self, num_workers: int) -> int:
        """Return how many of the workers may be Byzantine."""
        return self.num_byzantine(num_workers) if self.num_byzantine else 0


def _first_row(rows: jax.Array) -> jax.Array:
    """Take the only row that is left after mixing."""
    return rows[0]


def no_memory(num_workers: int) -> Any:
    """Remember nothing."""
    del num_workers
    return ()


def _nothing(num_workers: int) -> None:
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
      mix: ``(geometry, key, memory) -> (weights [m, W], memory)`` with which the rows
        are mixed first, or None. Workers that are not finite get weight 0. All
        weights 0 mean that nothing can be trusted; NaN, that this row is not finite.
      contract: What the rule promises.
      linear: The rule is the plain mean.
      needs_aligned: The rule compares coordinates between workers, which is void when
        each of them keeps other coordinates.
      anchor: What ``mix`` sees besides the workers, as the last row: ``"previous"``,
        the result of the step before (0 at first), ``"reference"``, an extra argument
        of ``update``, a function ``rows [W, s] -> [s]``, coordinate by coordinate, or
        None.
      init: ``(num_workers) -> memory``, small and equal on all workers.
      requires: ``(num_workers) -> None``; raises for what ``contract`` does not say.
    """

    name: str
    reduce: Callable[[jax.Array], jax.Array] = _first_row
    mix: Mix | None = None
    contract: RuleContract = RuleContract()
    linear: bool = False
    needs_aligned: bool = False
    anchor: str | Callable[[jax.Array], jax.Array] | None = None
    init: Callable[[int], Any] = no_memory
    requires: Callable[[int], None] = _nothing

    def __repr__(self):
        return self.name

    def check(self, num_workers: int) -> None:
        """Raise when the rule cannot work with so few workers."""
        if self.contract.num_byzantine is not None:
            _checks.byzantine_count(
                self.name,
                self.contract.num_byzantine(num_workers),
                num_workers,
                self.contract.largest(num_workers),
            )
        self.requires(num_workers)

    def __call__(
        self, stacked: Any, key: jax.Array | None = None, *, anchor: Any = None
    ) -> Any:
        """Aggregate stacked gradients.

        Args:
          stacked: Pytree of arrays ``[W, ...]``.
          key: Typed key for rules that draw; a fixed one when None.
          anchor: Pytree of arrays ``[...]``: the previous result or the reference of
            rules that have one. Zeros when None, for a previous result.

        Returns:
          Pytree of arrays ``[...]`` with the dtypes of ``stacked``.

        Raises:
          ValueError: If the leaves disagree on W, if the rule cannot work with W, or
            if ``anchor`` is given or missing against what the rule needs.
        """
        leaves, treedef = jax.tree.flatten(stacked)
        if not leaves:
            return stacked
        num_workers = _shared_leading_axis(leaves)
        self.check(num_workers)
        dtype = _tree.accumulator_dtype(*(leaf.dtype for leaf in leaves))

        def joined(parts, num_rows):
            flat = [part.reshape(num_rows, -1).astype(dtype) for part in parts]
            return jnp.concatenate(flat, axis=1)

        rows = joined(leaves, num_workers)
        if self._has_anchor(anchor):
            parts = [jnp.asarray(part) for part in treedef.flatten_up_to(anchor)]
            rows = jnp.concatenate([rows, joined(parts, 1)])
        elif callable(self.anchor):
            rows = jnp.concatenate([rows, self.anchor(rows)[None]])
        elif self.anchor:
            rows = jnp.concatenate([rows, jnp.zeros_like(rows[:1])])
        key = jax.random.key(0) if key is None else key
        whole = {"whole": rows}
        verdict = judge(
            self, whole, _only_value, num_workers, key, self.init(num_workers)
        )
        merged = verdict.merged["whole"]
        parts = _tree.split(merged, (math.prod(leaf.shape[1:]) for leaf in leaves))
        return treedef.unflatten(
            part.reshape(leaf.shape[1:]).astype(leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        )

    def _has_anchor(self, anchor):
        """Whether an anchor was given; raise if it must or must not be."""
        if anchor is not None and not isinstance(self.anchor, str):
            raise ValueError(
                f"`anchor` must be None for {self.name}, which takes none."
            )
        if anchor is None and self.anchor == "reference":
            raise ValueError(
                f"`anchor` must be the reference gradient that {self.name} compares "
                "all workers with, got None."
            )
        return anchor is not None

    def combine(self, rows: jax.Array, weights: jax.Array | None) -> jax.Array:
        """Turn the rows ``[W, s]`` of one shard into one ``[s]``.

        Args:
          rows: The workers' contributions to this shard, at least float32.
          weights: ``[m, W]`` of ``mix`` for the whole gradient; None for rules that do
            not mix.
        """
        if weights is None:
            return self.reduce(rows) if self.linear else _by_columns(self.reduce, rows)
        weights = weights.astype(rows.dtype)
        if weights.shape[0] == 1:
            return _weighted_sum(weights[0], rows)
        return _mixed_and_reduced(weights, rows, self.reduce)

    def trusts(
        self, num_nonfinite: jax.Array | int, num_workers: int
    ) -> jax.Array | bool:
        """Whether a result can be trusted although some workers are not finite."""
        if self.contract.num_byzantine is None:
            return True
        return num_nonfinite <= self.contract.num_byzantine(num_workers)


class Verdict(NamedTuple):
    """What a rule made of the rows, and what it knows of the workers."""

    merged: dict[Any, jax.Array]  # of each part [s]
    weights: jax.Array | None  # [m, W] of rules that mix
    memory: Any  # of the rule
    num_nonfinite: jax.Array  # int32, shape (): workers that are not finite


def judge(
    rule: AggregationRule,
    rows: Mapping[Any, jax.Array],
    sum_of_parts: Callable[[Mapping[Any, jax.Array]], jax.Array],
    num_workers: int,
    key: jax.Array,
    memory: Any,
) -> Verdict:
    """Apply a rule to the parts of one gradient.

    Args:
      rule: The rule.
      rows: Of each part ``[W, s]``, an anchor last.
      sum_of_parts: Adds up what is known of each part, wherever parts are.
      num_workers: W.
      key: The same wherever parts are.
      memory: Of the rule.
    """
    weights, finite = None, jnp.ones(num_workers, bool)
    if rule.mix is not None:
        matrices = {k: _geometry.Geometry.of(p).as_matrix() for k, p in rows.items()}
        geometry = _geometry.Geometry.from_matrix(sum_of_parts(matrices))
        weights, memory = rule.mix(geometry, key, memory)
        finite = geometry.finite[:num_workers]
    elif rule.contract.num_byzantine is not None:
        bad = {k: (~finite_rows(p)).astype(p.dtype) for k, p in rows.items()}
        finite = (sum_of_parts(bad) == 0)[:num_workers]
    num_nonfinite = jnp.sum(~finite, dtype=jnp.int32)
    trusted = rule.trusts(num_nonfinite, num_workers)
    merged = {
        k: jnp.where(trusted, rule.combine(p, weights), 0) for k, p in rows.items()
    }
    return Verdict(merged, weights, memory, num_nonfinite)


def _only_value(values: Mapping[Any, jax.Array]) -> jax.Array:
    """Return what is known of a gradient that is in one part."""
    (value,) = values.values()
    return value


def _weighted_sum(weights: jax.Array, rows: jax.Array) -> jax.Array:
    """Return ``weights [W] @ rows [W, s]``, deaf to rows without weight."""
    # A weight of zero does not silence a NaN; rows that hold one have no weight. A sum
    # of terms fuses, where a product would copy all rows first.
    terms = (
        weights[i] * jnp.where(jnp.isfinite(row), row, 0) for i, row in enumerate(rows)
    )
    return functools.reduce(operator.add, terms)


def _mixed_and_reduced(weights, rows, reduce):
    """Mix and reduce few columns at a time: all mixed rows at once need not exist."""

    def part(columns):
        return reduce(_mixed(weights, jnp.where(jnp.isfinite(columns), columns, 0)))

    return _by_columns(part, rows)


def _mixed(weights, rows):
    """Return ``weights [m, W] @ rows [W, s]``."""
    if weights.size > _SMALL_PRODUCT:
        return jnp.matmul(weights, rows, precision="highest")
    # Few rows are mixed up to ten times faster by sums, which fuse with what follows.
    return jnp.stack(
        [
            sum(weight * row for weight, row in zip(of_row, rows, strict=True))
            for of_row in weights
        ]
    )


def finite_rows(rows: jax.Array) -> jax.Array:
    """Return which rows of ``[W, n]`` are finite, without an array of their size."""

    def all_finite(columns):
        return jnp.isfinite(columns).all(axis=1)

    return _geometry.fold_columns(all_finite, jnp.logical_and, rows, cached_width(rows))


def cached_width(rows):
    """Return how many columns of all rows stay in cache."""
    return max(256, _CACHED // max(rows.shape[0], 1))


def _by_columns(reduce, rows):
    """Reduce the rows a few columns at a time, which stay in cache."""
    width = cached_width(rows)
    whole = rows.shape[1] // width * width
    if whole <= width:
        return reduce(rows)

    def body(i, merged):
        columns = jax.lax.dynamic_slice_in_dim(rows, i * width, width, axis=1)
        return jax.lax.dynamic_update_slice_in_dim(
            merged, reduce(columns), i * width, axis=0
        )

    rest = reduce(rows[:, whole:])
    merged = jnp.concatenate([jnp.zeros_like(rows[0, :whole]), rest])
    return jax.lax.fori_loop(0, whole // width, body, merged)


def _shared_leading_axis(leaves: list[jax.Array]) -> int:
    """Return W, the number of rows that all leaves have."""
    sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in leaves}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "`stacked` must hold arrays [W, ...] that agree on W, the number of "
            f"workers; the leaves have leading axes {sorted(sizes)}."
        )
    return sizes.pop()
