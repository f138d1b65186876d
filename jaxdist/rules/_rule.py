"""Aggregation rules: how W contributions become one."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.geometry import _columns, _geometry, _norms, _radii

_LOWERED = 2.0**-64  # of which no sum of finite numbers is infinite


def _less_than_half(num_workers: int) -> int:
    """Return the largest minority."""
    return (num_workers - 1) // 2


def _unproved_constant(num_workers: int, num_byzantine: int) -> float:
    """A constant of robustness that nobody has proved."""
    del num_workers, num_byzantine
    return math.inf


def constant_count(number: int) -> Callable[[int], int]:
    """Return the function of the number of workers that does not depend on it."""
    return lambda num_workers: number


Sight = _geometry.Geometry | _radii.Radii | _norms.Norms
Mix = Callable[[Any, jax.Array, Any], tuple[jax.Array, Any]]


@dataclasses.dataclass(frozen=True)
class RuleContract:
    r"""What a rule :math:`F` promises of W workers, f of them Byzantine.

    Attributes:
      num_byzantine: ``(num_workers) -> f`` tolerated, or None where nothing is
        promised. When more workers than that are not finite, the result is 0.
      largest: ``(num_workers) -> f``, the most for which the rule is defined.
      limit: ``largest`` in words, for tables.
      kappa: ``(num_workers, num_byzantine) -> kappa`` that is proved for so many of
        those tolerated, no unit: for every set :math:`S` of :math:`W - f` workers
        :math:`\|F(x) - \bar{x}_S\|^2 \le \frac{\kappa}{|S|}\sum_{i\in S}
        \|x_i - \bar{x}_S\|^2`. Ask :meth:`robustness`, which knows the range.
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
    kappa: Callable[[int, int], float] = _unproved_constant
    translation_equivariant: bool = True
    scale_equivariant: bool = True
    in_hull: bool = False
    symmetric: bool = True

    def tolerated(self, num_workers: int) -> int:
        """Return how many of the workers may be Byzantine."""
        return self.num_byzantine(num_workers) if self.num_byzantine else 0

    def robustness(self, num_workers: int, num_byzantine: int) -> float:
        """Return kappa, infinite where more are Byzantine than the rule tolerates."""
        tolerated = self.tolerated(num_workers)
        if not num_byzantine <= tolerated <= self.largest(num_workers):
            return math.inf
        return self.kappa(num_workers, num_byzantine)


def _only_row(rows: jax.Array) -> jax.Array:
    """Take the only row that is left after mixing."""
    return rows[0]


def no_memory(num_workers: int) -> Any:
    """Remember nothing."""
    del num_workers
    return ()


def _accept_any(num_workers: int) -> None:
    """Accept every number of workers."""


# No tuple: `jax.jit(rule)` needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AggregationRule:
    """How W contributions become one: mix the rows, then reduce them.

    Call it on stacked gradients ``[W, ...]`` without any mesh, or give it to
    :func:`aggregate`.

    Attributes:
      name: How reports and errors call it.
      reduce: ``rows [m, s] -> [s]``, coordinate by coordinate.
      mix: ``(geometry, key, memory) -> (weights [m, W], memory)`` with which the rows
        are mixed first, or None. Weights ``[W]`` only scale the rows. Workers that are
        not finite get weight 0. All weights 0 mean that nothing can be trusted; NaN,
        that this row is not finite.
      contract: What the rule promises.
      sees: What ``mix`` is given: all distances (:class:`jaxdist.rules.Geometry`),
        those from the anchor (:class:`jaxdist.rules.Radii`), or
        :class:`jaxdist.rules.Norms`, which cost the least.
      linear: The rule is the plain mean.
      needs_aligned: The rule compares coordinates between workers, which is void when
        each of them keeps other coordinates.
      anchor: What ``mix`` sees besides the workers, as the last: ``"previous"``,
        the result of the step before (0 at first), ``"reference"``, an extra argument
        of ``update``, a function ``rows [W, s] -> [s]``, coordinate by coordinate, the
        index of a worker, or None.
      init: ``(num_workers) -> memory``, small and equal on all workers.
      requires: ``(num_workers) -> None``; raises for what ``contract`` does not say.
    """

    name: str
    reduce: Callable[[jax.Array], jax.Array] = _only_row
    mix: Mix | None = None
    contract: RuleContract = RuleContract()
    sees: type[Sight] = _geometry.Geometry
    linear: bool = False
    needs_aligned: bool = False
    anchor: str | Callable[[jax.Array], jax.Array] | int | None = None
    init: Callable[[int], Any] = no_memory
    requires: Callable[[int], None] = _accept_any

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

        rows, given = joined(leaves, num_workers), None
        if self._has_anchor(anchor):
            parts = [jnp.asarray(part) for part in treedef.flatten_up_to(anchor)]
            given = joined(parts, 1)[0]
        key = jax.random.key(0) if key is None else key
        whole = {"whole": self.part(rows, given)}
        verdict = apply_rule(self, whole, _only_value, key, self.init(num_workers))
        merged = verdict.merged["whole"]
        parts = _tree.split_flat(merged, (math.prod(leaf.shape[1:]) for leaf in leaves))
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

    def part(self, rows: jax.Array, anchor: jax.Array | None = None) -> "Contributions":
        """Return the rows ``[W, s]`` with what the rule compares them with.

        Args:
          rows: The workers' contributions, at least float32.
          anchor: ``[s]``, the reference or the previous result, which is 0 when None.
        """
        if callable(self.anchor):
            return Contributions(rows, _columns.map_columns(self.anchor, rows))
        if isinstance(self.anchor, int):
            return Contributions(rows, rows[self.anchor])
        if self.anchor is not None and anchor is None:
            return Contributions(rows, jnp.zeros_like(rows[0]))
        return Contributions(rows, anchor)

    def combine(
        self,
        part: "Contributions",
        weights: jax.Array | None,
        all_finite: jax.Array | bool = False,
    ) -> jax.Array:
        """Turn one shard of all contributions into one ``[s]``.

        Args:
          part: The workers' contributions to this shard, at least float32.
          weights: ``[m, W]`` or ``[W]`` of ``mix`` for the whole gradient, with an
            anchor's last; None for rules that do not mix.
          all_finite: Whether all contributions are known to be; shape ().
        """
        rows, anchor = part
        if self.linear:
            alike = jnp.ones_like(rows, shape=rows.shape[:1])
            return _at_once(alike, part) / alike.size
        if weights is None:
            return _columns.map_columns(self.reduce, rows)
        weights = weights.astype(rows.dtype)
        if weights.ndim == 2 and weights.shape[0] == 1:
            return _weighted_sum(weights[0], part, all_finite)
        if anchor is not None:
            rows = jnp.concatenate([rows, anchor[None]])
        return _mixed_and_reduced(weights, rows, self.reduce)

    def trusts(
        self, num_nonfinite: jax.Array | int, num_workers: int
    ) -> jax.Array | bool:
        """Whether a result can be trusted although some workers are not finite."""
        if self.contract.num_byzantine is None:
            return True
        return num_nonfinite <= self.contract.num_byzantine(num_workers)


class Contributions(NamedTuple):
    """All contributions to a part of the gradient, at least float32."""

    rows: jax.Array  # [W, s]
    anchor: jax.Array | None = None  # [s]


class Applied(NamedTuple):
    """What a rule made of the rows, and what it knows of the workers."""

    merged: dict[Any, jax.Array]  # of each part [s]
    weights: jax.Array | None  # [m, W] or [W] of rules that mix, an anchor's last
    memory: Any  # of the rule
    num_nonfinite: jax.Array  # int32, shape (): workers that are not finite


def apply_rule(
    rule: AggregationRule,
    parts: Mapping[Any, Contributions],
    sum_of_parts: Callable[[Mapping[Any, jax.Array]], jax.Array],
    key: jax.Array,
    memory: Any,
) -> Applied:
    """Apply a rule to the parts of one gradient, of which there is at least one.

    Args:
      rule: The rule.
      parts: Of the gradient.
      sum_of_parts: Adds up what is known of each part, wherever parts are.
      key: The same wherever parts are.
      memory: Of the rule.
    """
    num_workers = next(iter(parts.values())).rows.shape[0]
    weights, finite = None, jnp.ones(num_workers, bool)
    if rule.mix is not None:
        seen = {k: rule.sees.of(*part).as_array() for k, part in parts.items()}
        sight = rule.sees.from_array(sum_of_parts(seen))
        weights, memory = rule.mix(sight, key, memory)
        finite, all_finite = sight.finite[:num_workers], jnp.all(sight.finite)
        merged = {k: rule.combine(p, weights, all_finite) for k, p in parts.items()}
    elif rule.contract.num_byzantine is not None:
        reduced = {k: _reduced_rows(rule, part.rows) for k, part in parts.items()}
        bad = {k: (~good).astype(row.dtype) for k, (row, good) in reduced.items()}
        finite = sum_of_parts(bad) == 0
        merged = {k: row for k, (row, _) in reduced.items()}
    else:
        merged = {k: rule.combine(part, None) for k, part in parts.items()}
    num_nonfinite = jnp.sum(~finite, dtype=jnp.int32)
    trusted = rule.trusts(num_nonfinite, num_workers)
    merged = {k: jnp.where(trusted, row, 0) for k, row in merged.items()}
    return Applied(merged, weights, memory, num_nonfinite)


def _only_value(values: Mapping[Any, jax.Array]) -> jax.Array:
    """Return what is known of a gradient that is in one part."""
    (value,) = values.values()
    return value


def _reduced_rows(
    rule: AggregationRule, rows: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the rows reduced without mixing, and which of them are finite, ``[W]``."""

    def reduce(columns):
        good = functools.reduce(operator.and_, [jnp.isfinite(row) for row in columns])
        return rule.reduce(columns), jnp.all(good)

    reduced, all_finite = _columns.map_columns_and_all(reduce, rows)

    def find_out(carry):
        done, _ = carry
        return done | True, finite_rows(rows)

    # One truth on the way says that all are finite, as they are mostly. A loop, not a
    # branch: under vmap a branch would always be taken. `done | True` varies in a mesh
    # as `done` does, which a loop asks for.
    everyone = jnp.broadcast_to(all_finite, rows.shape[:1])
    found = jax.lax.while_loop(
        lambda carry: ~carry[0], find_out, (all_finite, everyone)
    )
    return reduced, found[1]


def _weighted_sum(weights, part, all_finite):
    """Return ``weights [W] @ rows [W, s]``, deaf to rows without weight."""
    if all_finite is False:
        return _one_by_one(weights, part)
    return jax.lax.cond(all_finite, _at_once, _one_by_one, weights, part)


def _at_once(weights, part):
    """Multiply: this reads few rows at a time, three times faster than a sum of 64."""
    rows, anchor = part
    total = _geometry.exact_product(weights[: rows.shape[0]], rows)
    return total if anchor is None else total + weights[-1] * anchor


def _one_by_one(weights, part):
    """Add up: a weight of zero silences a NaN, as it does not in a product."""
    rows = [*part.rows] if part.anchor is None else [*part.rows, part.anchor]
    terms = (
        weight * jnp.where(jnp.isfinite(row), row, 0)
        for weight, row in zip(weights, rows, strict=True)
    )
    return functools.reduce(operator.add, terms)


def _mixed_and_reduced(weights, rows, reduce):
    """Mix and reduce few columns at a time: all mixed rows at once need not exist."""

    def mixed_and_reduced(columns):
        return reduce(
            _mixed_rows(weights, jnp.where(jnp.isfinite(columns), columns, 0))
        )

    return _columns.map_columns(mixed_and_reduced, rows)


def _mixed_rows(weights, rows):
    """Return ``weights [m, W] @ rows [W, s]``, or the rows scaled by ``[W]``."""
    if weights.ndim == 1:
        return weights[:, None] * rows
    return jnp.matmul(weights, rows, precision="highest")


def finite_rows(rows: jax.Array) -> jax.Array:
    """Return which rows of ``[W, n]`` are finite, without an array of their size."""
    return jnp.isfinite(jnp.sum(rows * _LOWERED, axis=1))


def _shared_leading_axis(leaves: list[jax.Array]) -> int:
    """Return W, the number of rows that all leaves have."""
    sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in leaves}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            "`stacked` must hold arrays [W, ...] that agree on W, the number of "
            f"workers; the leaves have leading axes {sorted(sizes)}."
        )
    return sizes.pop()
