"""The plan: which leaf travels how, and what each worker sends for it."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import _aggregation_metrics
from jaxdist.compression import _compressor, _per_leaf
from jaxdist.rules import _rule

ROUTES = ("psum", "gather", "scatter")


class LeafPlan(NamedTuple):
    """How one leaf travels; known from shapes alone."""

    name: str
    like: jax.ShapeDtypeStruct  # of the leaf
    compressor: _compressor.Compressor
    downlink: _compressor.Compressor
    route: str  # one of ROUTES
    num_workers: int
    other_axes: tuple[str, ...] = ()  # over which the leaf varies, besides the workers'

    @property
    def blocks(self) -> int:
        """Into how many parts the leaf is cut before it is encoded."""
        return self.num_workers if self.route == "scatter" else 1

    @property
    def dialogue(self) -> _compressor.Dialogue | None:
        """How the leaf's mean is found in rounds, where its route is psum."""
        return self.compressor.dialogue if self.route == "psum" else None

    @property
    def shard(self) -> jax.ShapeDtypeStruct:
        """What one worker owns of the leaf on the route scatter."""
        size = _tree.block_size(self.like.size, self.num_workers)
        return jax.ShapeDtypeStruct((size,), self.like.dtype)

    @property
    def part(self) -> jax.ShapeDtypeStruct:
        """What a worker decodes of the leaf, in the dtype in which rules work."""
        part = self.shard if self.route == "scatter" else self.like
        return _tree.like_leaf(part, _tree.accumulator_dtype(part.dtype))


def plan_leaf(
    name: str,
    leaf: Any,
    num_workers: int,
    *,
    rule: _rule.AggregationRule,
    compressor: _compressor.Compressor | _compressor.LeafPolicy,
    downlink: _compressor.Compressor | _compressor.LeafPolicy | None,
    route: str,
    other_axes: tuple[str, ...] = (),
) -> LeafPlan:
    """Choose the route of one leaf, or check the one that was asked for."""
    up = _per_leaf.select_compressor(compressor, name, leaf)
    down = _per_leaf.select_compressor(downlink or _per_leaf.DENSE, name, leaf)
    check_pair(rule, up)
    _check_real(name, leaf, rule, up, down)
    if downlink is not None and not down.contract.splittable:
        raise ValueError(
            f"`downlink` {down.name} needs the shape of a whole leaf, but on the way "
            "back each worker sends only its part. Use a compressor that splits."
        )
    plans = [
        LeafPlan(
            name, _tree.like_leaf(leaf), up, down, candidate, num_workers, other_axes
        )
        for candidate in _possible(rule, up, downlink is not None)
    ]
    if route == "auto" and rule.anchor == "previous":
        return plans[0]
    if route == "auto" and up.incremental:
        # Where estimates are kept must not depend on W: specs are made without it.
        return min(plans, key=lambda plan: ROUTES.index(plan.route))
    if route == "auto":
        return min(plans, key=bytes_sent)
    for plan in plans:
        if plan.route == route:
            return plan
    possible = " or ".join(repr(plan.route) for plan in plans)
    raise ValueError(
        f"`route` {route!r} cannot carry leaf {name!r} with rule {rule.name}, "
        f"compressor {up.name} and downlink {down.name}: "
        f"{_why_not(route, rule, up)} Use {possible}, or 'auto'."
    )


def check_pair(rule: _rule.AggregationRule, compressor: _compressor.Compressor) -> None:
    """Raise when the rule would compare coordinates that others did not keep."""
    if rule.needs_aligned and not compressor.contract.aligned:
        raise ValueError(
            f"`rule` {rule.name} compares coordinate by coordinate, but with "
            f"{compressor.name} the workers keep different coordinates: almost all "
            "rows are zero in each, and so would be the result. Use a compressor that "
            "keeps the same ones everywhere (scaled_sign, qsgd, random_k, cast), or a "
            "rule that takes any (mean, krum)."
        )


def _check_real(
    name: str,
    leaf: Any,
    rule: _rule.AggregationRule,
    up: _compressor.Compressor,
    down: _compressor.Compressor,
) -> None:
    """Raise when complex numbers would be compared or compressed."""
    is_dense = up is _per_leaf.DENSE and down is _per_leaf.DENSE
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating) and not (
        rule.linear and is_dense
    ):
        raise TypeError(
            f"`updates` leaf {name!r} is {leaf.dtype}, which only mean() can take, "
            "uncompressed. Split it into real and imaginary parts."
        )


def _possible(
    rule: _rule.AggregationRule, compressor: _compressor.Compressor, has_downlink: bool
) -> list[str]:
    """Return the routes that can work, the lightest on memory first."""
    routes = []
    if rule.linear and _can_add(compressor) and not has_downlink:
        routes.append("psum")
    if compressor.contract.splittable:
        routes.append("scatter")
    if not has_downlink:
        routes.append("gather")
    if not routes:
        raise ValueError(
            f"`downlink` needs the route scatter, for which `compressor` "
            f"{compressor.name} cannot be split. Use a compressor that splits, or no "
            "downlink."
        )
    return routes


def _can_add(compressor: _compressor.Compressor) -> bool:
    """Whether payloads, or those of a dialogue's rounds, may be added on their way."""
    return compressor.contract.linear or compressor.dialogue is not None


def _why_not(
    route: str, rule: _rule.AggregationRule, compressor: _compressor.Compressor
) -> str:
    """Say why the route is impossible."""
    if route == "scatter":
        return "it cuts each leaf in parts, and this compressor does not split."
    if route == "psum" and not rule.linear:
        return "it adds payloads up on their way, which only the mean allows."
    if route == "psum" and not _can_add(compressor):
        return "it adds payloads up on their way, and these do not add up."
    return "only scatter has a way back to compress."


def estimate_like(plan: LeafPlan, rule: _rule.AggregationRule) -> Any:
    """Return what a receiver remembers of the leaf, or ``()``."""
    if not plan.compressor.incremental:
        return ()
    size = (plan.part.size,)
    shape = size if rule.linear else (plan.num_workers, *size)
    return jax.ShapeDtypeStruct(shape, plan.part.dtype)


def previous_like(plan: LeafPlan, rule: _rule.AggregationRule) -> Any:
    """Return what a worker remembers of the last result for the leaf, or ``()``."""
    if rule.anchor != "previous":
        return ()
    return jax.ShapeDtypeStruct((plan.part.size,), plan.part.dtype)


def back_estimate_like(plan: LeafPlan) -> Any:
    """Return what all remember of the way back of the leaf, or ``()``."""
    if plan.route != "scatter" or not plan.downlink.incremental:
        return ()
    return jax.ShapeDtypeStruct(
        (plan.num_workers, plan.shard.size), _tree.accumulator_dtype(plan.like.dtype)
    )


def bytes_sent(plan: LeafPlan) -> float:
    """Return the bytes that each worker sends for the leaf in one step."""
    up, down = _bytes_up(plan), _bytes_down(plan)
    return up + down


def _bytes_up(plan: LeafPlan) -> float:
    payload = _per_leaf.payload_like(
        plan.compressor, plan.like.shape, plan.like.dtype, plan.blocks
    )
    arrays = jax.tree.leaves(payload)
    if plan.route == "psum":
        arrays = [_tree.like_leaf(x, _collectives.psum_dtype(x.dtype)) for x in arrays]
    nbytes = sum(_tree.leaf_nbytes(array) for array in arrays)
    rate = {
        "psum": _traffic.all_reduce_bytes,
        "gather": _traffic.all_gather_bytes,
        "scatter": _traffic.all_to_all_bytes,
    }[plan.route]
    return rate(nbytes, plan.num_workers)


def _bytes_down(plan: LeafPlan) -> float:
    if plan.route != "scatter":
        return 0.0
    nbytes = _per_leaf.payload_nbytes(plan.downlink, plan.shard)
    return _traffic.all_gather_bytes(nbytes, plan.num_workers)


def _bytes_of_padding(plan: LeafPlan) -> float:
    """Return the share of the bytes that the padded elements take."""
    padded = plan.blocks * _tree.block_size(plan.like.size, plan.blocks)
    return bytes_sent(plan) * (1 - plan.like.size / padded) if padded else 0.0


def shipments(
    plans: Sequence[LeafPlan],
    rule: _rule.AggregationRule,
    transformation: str,
    metrics: bool = False,
    model_size: int = 1,
) -> Iterator[_traffic.Shipment]:
    """Yield what the report should say of this step."""
    for plan in plans:
        dense = _traffic.all_reduce_bytes(
            _tree.leaf_nbytes(plan.like), plan.num_workers
        )
        name = plan.compressor.name
        if plan.downlink is not _per_leaf.DENSE:
            name = f"{name}, back {plan.downlink.name}"
        yield _traffic.Shipment(
            transformation,
            plan.name,
            plan.like.shape,
            name,
            plan.route,
            bytes_sent(plan),
            _bytes_of_padding(plan),
            dense,
        )
    for name, shape in _judged(rule, plans, metrics).items():
        nbytes = math.prod(shape) * jnp.dtype(row_dtype(plans)).itemsize
        num_parts = plans[0].num_workers if _has_parts(plans) else 1
        for whose, size in ((name, num_parts), (f"{name} over the model", model_size)):
            if size > 1:
                yield _traffic.Shipment(
                    transformation,
                    f"({whose})",
                    shape,
                    "-",
                    "psum",
                    _traffic.all_reduce_bytes(nbytes, size),
                    0.0,
                    0.0,
                )


def _has_parts(plans: Sequence[LeafPlan]) -> bool:
    """Whether workers see only their parts of some leaves."""
    return any(plan.route == "scatter" and plan.like.size for plan in plans)


def _judged(
    rule: _rule.AggregationRule, plans: Sequence[LeafPlan], metrics: bool
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what is summed over all parts of the gradient."""
    shapes = {}
    num_workers = plans[0].num_workers if plans else 0
    if rule.mix is not None:
        num_rows = num_workers + (rule.anchor is not None)
        shapes[rule.sees.what] = rule.sees.shape(num_rows)
    elif rule.contract.num_byzantine is not None:
        shapes["not finite"] = (num_workers,)
    return shapes | (_aggregation_metrics.summed_shapes(num_workers) if metrics else {})


def row_dtype(plans: Sequence[LeafPlan]) -> Any:
    """Return the dtype in which the rule works: float32 or wider."""
    return _tree.accumulator_dtype(*(plan.like.dtype for plan in plans))
