"""Geometry: how W contributions lie to each other, in W² numbers instead of W·d.

Rules weigh workers by this alone, never by the gradients. So a pre-aggregation can be
followed by any rule: the geometry of mixtures follows from their weights, and
``nnm(f, then=krum(f))`` is two small matrices and one pass over the data. Only what
shortens the long has the rows measured again: see the top of ``_sight.py``.

Distances come from inner products around a centre. One matrix product is taken for each
block of columns that stays in cache. This never makes an array ``[W, W, n]``, and is
five times faster than summing squared differences. Around the origin the digits would
cancel where all gradients share a large mean. So the centre is the mean of the rows.
Around that mean digits cancel where a single row is huge, which an attacker can
arrange. Then, and only then, everything is measured again around the mean of the half
of the rows that is nearest to the most central row. This is decided once, from the
sums: deciding it for every block took a fifth of the time. The distances of each block
are summed, not its products: rounding of the products would add up before they cancel.

Rules that need less see :class:`Norms` or :class:`Radii`, of 2W numbers. All
distances take W² products for each coordinate; norms and distances from an anchor take
W. For clipping that is a third to a ninth of the time, and fewer numbers on the wire.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from jaxdist.geometry import _columns, _sight

_RECENTRE = 0.01  # squared distance per squared norm, below which digits would cancel
_UNDIVIDED = 16  # rows, of which all products are taken at once
_SHARE = 4  # of all rows, that is not divided further: little is saved by more parts
_ADDED = 2.0**-6  # of the largest number; a few distances of such rows can be added
_ROUNDS = 4  # a huge row hides a large one; each round uncovers the next of them


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Geometry(_sight.Sight):
    """How W contributions lie to each other, over the whole gradient.

    A rule that adds workers up with weights can find all it needs in this geometry.
    Workers that are not finite are infinitely far away from all workers, themselves
    included. So are those that are too long to be squared, 2e18 in float32.

    Attributes:
      squared_norms: ``[W]``; inf where a worker is not finite.
      squared_distances: ``[W, W]``; inf where a worker is not finite.
    """

    squared_distances: jax.Array

    what: ClassVar[str] = "distances"  # how reports call it

    @classmethod
    def of(
        cls,
        rows: jax.Array,
        anchor: jax.Array | None = None,
        mixture: jax.Array | None = None,
        present: jax.Array | None = None,
    ) -> "Geometry":
        """Measure ``[W, n]`` rows, or this shard's part; an anchor ``[n]`` is last.

        Distances come from inner products around a centre: the mean of all rows, or,
        where one row is huge, the mean of the half that is nearest to the most central
        row. Around the origin digits would cancel when all rows share a large mean.

        Args:
          rows: ``[W, n]``.
          anchor: ``[n]``.
          mixture: What to measure mixtures of all of them with, ``[m, W]`` or ``[W]``.
          present: Which of what is measured is there; the others count as not finite.
        """
        blocks = (rows,) if anchor is None else (rows, anchor[None])
        measured = _measure_blocks(blocks, mixture, present)
        finite = are_comparable(measured.norms)
        return cls(
            jnp.where(finite, measured.norms, jnp.inf),
            _far_away(measured.distances, finite),
        )

    def as_array(self) -> jax.Array:
        """Return ``[W, W]``: the distances, with the norms on their zero diagonal."""
        itself = jnp.eye(self.squared_norms.shape[0], dtype=bool)
        return jnp.where(itself, self.squared_norms, self.squared_distances)

    @classmethod
    def from_array(cls, matrix: jax.Array) -> "Geometry":
        """Invert :meth:`as_array`."""
        norms = jnp.diagonal(matrix)
        apart = jnp.where(jnp.eye(matrix.shape[0], dtype=bool), 0, matrix)
        finite = are_comparable(norms)
        return cls(jnp.where(finite, norms, jnp.inf), _far_away(apart, finite))

    @classmethod
    def shape(cls, num_rows: int) -> tuple[int, ...]:
        """Return the shape of :meth:`as_array` for so many rows, an anchor included."""
        return num_rows, num_rows

    @classmethod
    def seen_in(cls, sight: "Geometry") -> "Geometry":
        """Return the geometry itself."""
        return sight

    def without_last(self) -> Self:
        """Leave out the anchor."""
        return dataclasses.replace(
            self,
            squared_norms=self.squared_norms[:-1],
            squared_distances=self.squared_distances[:-1, :-1],
        )

    def seen_again(self, sees: type[Any], mixture: jax.Array) -> Any:
        """Do the same where the rows are unknown: as far as distances have digits."""
        if self.measure is not None:
            return super().seen_again(sees, mixture)
        weights = jnp.diag(mixture) if mixture.ndim == 1 else mixture
        return sees.seen_in(self.mixed(weights))

    def centred(self, weights: jax.Array | None = None) -> jax.Array:
        """Return the inner products ``[W, W]`` of the deviations from a mean.

        Args:
          weights: Of the mean, ``[W]`` with sum 1 and 0 for workers that are not
            finite; equal ones for all that are finite when None. Rows and columns of
            workers that are not finite are 0.
        """
        finite = self.finite
        distances = jnp.where(finite[:, None] & finite[None], self.squared_distances, 0)
        if weights is None:
            weights = _equal_weights(finite, distances.dtype)
        to_mean = exact_product(distances, weights)
        spread = exact_product(weights, to_mean)
        products = (to_mean[:, None] + to_mean[None] - distances - spread) / 2
        return jnp.where(finite[:, None] & finite[None], products, 0)

    def inner_products(self) -> jax.Array:
        """Return the inner products ``[W, W]``; 0 for workers that are not finite."""
        norms = jnp.where(self.finite, self.squared_norms, 0)
        products = (norms[:, None] + norms[None] - self.squared_distances) / 2
        return jnp.where(self.finite[:, None] & self.finite[None], products, 0)

    def mixed(self, weights: jax.Array) -> "Geometry":
        """Return the geometry of ``weights [m, W] @ rows`` without the rows.

        Digits are those of the majority: what mixtures keep of a few huge rows must not
        be small. A row of NaN in ``weights`` stands for a contribution that is not
        finite. The weights of workers are those of their mixtures.
        """
        members = find_majority(self.squared_distances, self.finite).members
        mean = _equal_weights(members, self.squared_norms.dtype)
        products = self.centred(mean)
        norms = jnp.where(self.finite, self.squared_norms, 0)
        rest = norms - jnp.diagonal(products)
        squared_mean = exact_product(mean, rest)
        frame = Frame(products, (rest - squared_mean) / 2, squared_mean)
        mixed = frame.mixed(weights, jnp.sum(weights, axis=1))
        if self.measure is not None:
            mixed = dataclasses.replace(mixed, measure=after(self.measure, weights))
        return mixed.with_weight(self.weight)

    def _only_present(self) -> Self:
        return dataclasses.replace(
            super()._only_present(),
            squared_distances=_far_away(self.squared_distances, self.present),
        )


class Frame(NamedTuple):
    """Deviations from a centre, by all of their inner products."""

    products: jax.Array  # [n, n], of the deviations
    along: jax.Array  # [n], of the deviations and the centre
    squared: jax.Array  # (), of the centre

    def mixed(self, weights: jax.Array, totals: jax.Array) -> Geometry:
        """Return the geometry of mixtures: of deviations, and so much of the centre.

        Args:
          weights: ``[m, n]``; a row of NaN is a mixture that is not finite.
          totals: ``[m]``, of the centre.
        """
        valid = jnp.isfinite(weights).all(axis=1)
        weights = jnp.where(valid[:, None], weights, 0)
        totals = jnp.where(valid, totals, 0)
        along = exact_product(weights, self.along)
        among = exact_product(exact_product(weights, self.products), weights.T)
        itself = jnp.diagonal(among)
        more = totals[:, None] - totals[None]
        distances = itself[:, None] + itself[None] - 2 * among
        distances += more * (2 * (along[:, None] - along[None]) + more * self.squared)
        norms = itself + totals * (2 * along + totals * self.squared)
        # Rounding must not part what is the same.
        same = jnp.all(weights[:, None] == weights[None], axis=2) & (more == 0)
        distances = jnp.where(same, 0, jnp.maximum(distances, 0))
        norms = jnp.where(valid, jnp.maximum(norms, 0), jnp.inf)
        return Geometry(norms, _far_away(distances, valid))


def mixed_rows(mixture: jax.Array | None, *blocks: jax.Array) -> jax.Array:
    """Return ``mixture [m, W] @ rows [W, s]``, or the rows scaled by ``[W]``.

    Args:
      mixture: ``[m, W]``, ``[W]``, or None for the rows as they are.
      *blocks: The rows, one below the other.
    """
    rows = blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks)
    if mixture is None:
        return rows
    if mixture.ndim == 1:
        return mixture[:, None] * rows
    return exact_product(mixture, jnp.where(jnp.isfinite(rows), rows, 0))


def compose_mixtures(later: jax.Array, earlier: jax.Array) -> jax.Array:
    """Return the mixture that does both, ``[W]`` where both of them only scale."""
    earlier = jnp.where(jnp.isfinite(earlier), earlier, 0)
    if later.ndim == 1:
        return later * earlier if earlier.ndim == 1 else later[:, None] * earlier
    return later * earlier[None] if earlier.ndim == 1 else exact_product(later, earlier)


def after(measure: Callable[..., Any], earlier: jax.Array) -> Callable[..., Any]:
    """Return the function that measures mixtures of mixtures."""
    return lambda sees, later: measure(sees, compose_mixtures(later, earlier))


class Majority(NamedTuple):
    """Most of the finite rows, around the one that is nearest to as many."""

    central: jax.Array  # int32, ()
    squared_radius: jax.Array  # ()
    members: jax.Array  # bool, [W]: within the radius


def find_majority(squared_distances: jax.Array, finite: jax.Array) -> Majority:
    """Return where most of the finite rows are, which no minority can choose."""
    middle = jnp.sum(finite) // 2
    ordered = jnp.sort(squared_distances, axis=1)
    radii = ordered[:, jnp.minimum(middle, ordered.shape[0] - 1)]
    central = jnp.argmin(radii)
    squared_radius = jnp.where(finite[central], radii[central], 0)
    members = finite & (squared_distances[central] <= squared_radius)
    return Majority(central, squared_radius, members)


def exact_product(left: jax.Array, right: jax.Array) -> jax.Array:
    """Multiply with all digits: by default accelerators keep three."""
    return jnp.matmul(left, right, precision="highest")


def _equal_weights(chosen, dtype):
    """Return weights ``[W]`` of the mean of those chosen."""
    ones = chosen.astype(dtype)
    return ones / jnp.maximum(jnp.sum(ones), 1)


def are_comparable(squared_norms: jax.Array) -> jax.Array:
    """Return which rows are so short that sums of squared distances are finite."""
    return squared_norms <= jnp.finfo(squared_norms.dtype).max * _ADDED


def _far_away(distances: jax.Array, finite: jax.Array) -> jax.Array:
    """Put workers that are not finite infinitely far away from all, and themselves."""
    return jnp.where(finite[:, None] & finite[None], distances, jnp.inf)


class _Measured(NamedTuple):
    """What is known of rows that were measured around a centre, all squared."""

    distances: jax.Array  # [W, W]
    radii: jax.Array  # [W], distances from the centre
    norms: jax.Array  # [W]


def _measure_blocks(
    blocks: Sequence[jax.Array], mixture: jax.Array | None, present: jax.Array | None
) -> _Measured:
    """Measure all rows of some ``[w, n]``, around a centre that leaves digits."""
    if present is None:
        num_rows = sum(rows.shape[0] for rows in blocks)
        num_rows = num_rows if mixture is None else mixture.shape[0]
        present = jnp.ones_like(blocks[0], shape=num_rows, dtype=bool)

    def measure_around(finite, central):
        # Zeros of those who are absent must not pass for a majority.
        found = _measure_around(blocks, mixture, finite, central)
        return found._replace(norms=jnp.where(present, found.norms, jnp.inf))

    first = measure_around(present, present)

    def is_unfinished(carry):
        round_index, measured = carry
        return ~_is_exact(measured) & (round_index < _ROUNDS)

    def recentre(carry):
        round_index, measured = carry
        return round_index + 1, measure_around(*_central_half(measured))

    # A loop, not a branch: under vmap a branch would always be taken.
    return jax.lax.while_loop(is_unfinished, recentre, (0, first))[1]


def _measure_around(blocks, mixture, finite, central):
    """Measure the finite rows around the mean of the central rows.

    Rows that are not finite count as 0.
    """
    weights = _equal_weights(central, blocks[0].dtype)

    def measured(*columns):
        rows = mixed_rows(mixture, *columns)
        usable = jnp.where(finite[:, None], rows, 0)
        moved = usable - exact_product(weights, usable)[None]
        products = _inner_products(moved)
        radii = jnp.diagonal(products)
        distances = radii[:, None] + radii[None] - 2 * products
        # Computed from the radii, the norm of a row that is much shorter than the
        # centre would lose its digits.
        return _Measured(distances, radii, jnp.sum(rows**2, axis=1))

    found = _columns.fold_columns(measured, jnp.add, *blocks)
    return found._replace(distances=jnp.maximum(found.distances, 0))


def _inner_products(rows):
    """Return the inner products ``[W, W]`` of all rows."""

    def at_once(rows):
        return exact_product(rows, rows.T)

    undivided = max(_UNDIVIDED, -(-rows.shape[0] // _SHARE))
    by_halves = functools.partial(_products_by_halves, undivided=undivided)
    return jax.lax.platform_dependent(rows, cpu=by_halves, default=at_once)


def _products_by_halves(rows, undivided):
    """Do the same by halves: half of all products come twice, which slows a CPU."""
    if rows.shape[0] <= undivided:
        return exact_product(rows, rows.T)
    one, other = jnp.split(rows, [rows.shape[0] // 2])
    across = exact_product(one, other.T)
    return jnp.block(
        [
            [_products_by_halves(one, undivided), across],
            [across.T, _products_by_halves(other, undivided)],
        ]
    )


def _is_exact(measured):
    """Whether the sums are finite, and no majority lies close together off the centre.

    A majority that lies close together has at least so many near pairs. A minority of
    copies of one row has fewer near pairs, and may lie anywhere.
    """
    distances, radii, norms = measured
    finite = are_comparable(norms)
    majority = jnp.sum(finite) // 2 + 1
    near = distances < _RECENTRE / 2 * (radii[:, None] + radii[None])
    near &= finite[:, None] & finite[None]
    crowded = (majority > 1) & (jnp.sum(near) >= majority * (majority - 1))
    return jnp.isfinite(jnp.sum(radii)) & ~crowded


def _central_half(measured):
    """Return which rows are finite, and which half is nearest to the most central."""
    # A row that cannot be squared counts as infinite, and must not spoil the others.
    finite = are_comparable(measured.norms)
    distances = _far_away(measured.distances, finite)
    distances = jnp.where(jnp.isnan(distances), 0, distances)
    return finite, find_majority(distances, finite).members
