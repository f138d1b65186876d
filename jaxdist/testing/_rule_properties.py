"""What `check_rule` tries; each says what it found, or raises what is wrong."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.aggregation import _aggregate
from jaxdist.attacks import _attack
from jaxdist.rules import _rule
from jaxdist.testing import _estimate_kappa

_AXIS = "jaxdist_check_rule"


class RuleSetting(NamedTuple):
    """A rule, and on what it is tried."""

    rule: _rule.AggregationRule
    num_workers: int
    size: int
    seed: int
    oracle: Callable[[np.ndarray], Any] | None
    attacks: tuple[_attack.Attack, ...]
    optimal_attacks: tuple[_attack.Attack, ...] = ()  # on this rule
    more_workers: int = 70  # for another try

    @property
    def num_byzantine(self) -> int:
        """How many the rule tolerates."""
        return self.rule.contract.tolerated(self.num_workers)

    @property
    def anchor(self) -> jax.Array | None:
        """What rules with an anchor are given: something near the honest mean."""
        rows = self.rows(1)[0]
        return 0.5 + 0.1 * rows if isinstance(self.rule.anchor, str) else None

    def works_with(self, num_workers: int) -> bool:
        """Whether the rule can work with so many workers."""
        try:
            self.rule.check(num_workers)
        except ValueError:
            return False
        return num_workers > 0

    def rows(self, turn: int = 0) -> jax.Array:
        """Return workers that agree on much, ``[W, size]``."""
        key = jax.random.fold_in(jax.random.key(self.seed), turn)
        return 0.5 + jax.random.normal(key, (self.num_workers, self.size))

    def apply(self, rows: Any, shift: Any = 0.0, scale: float = 1.0) -> Any:
        """Return the result for rows, the anchor shifted and scaled as they are."""
        anchor = self.anchor
        if anchor is not None:
            anchor = scale * anchor + shift
        return _compiled_rule(self.rule)(rows, anchor)


@functools.lru_cache(maxsize=64)
def _compiled_rule(rule: _rule.AggregationRule) -> Callable[..., Any]:
    """Return the rule as one program, the same for all properties."""
    return jax.jit(lambda rows, anchor: rule(rows, anchor=anchor))


def shape_and_dtype(setting: RuleSetting) -> str:
    """Trees of any shapes and dtypes come back without the axis of the workers."""
    rows = setting.rows()
    tree = {
        "empty": rows[:, :0],
        "half": rows[:, :3].astype(jnp.bfloat16),
        "matrix": rows[:, 3:].reshape(setting.num_workers, -1, 1),
        "scalar": rows[:, 0],
    }
    anchor = None
    if setting.anchor is not None:
        anchor = jax.tree.map(lambda leaf: leaf[0], tree)
    try:
        merged = jax.jit(lambda tree: setting.rule(tree, anchor=anchor))(tree)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"a tree of many shapes is an error: {error}") from error
    for name, leaf in tree.items():
        found, wanted = merged[name], (leaf.shape[1:], leaf.dtype)
        if (found.shape, found.dtype) != wanted:
            raise AssertionError(
                f"leaf {name!r} should be {wanted}, is {(found.shape, found.dtype)}."
            )
    return "a tree with bfloat16, a scalar and an empty leaf"


def permutation(setting: RuleSetting) -> str:
    """The order of the workers does not matter."""
    rows = setting.rows()
    order = np.random.default_rng(setting.seed).permutation(setting.num_workers)
    return _assert_close(
        setting.apply(rows[order]), setting.apply(rows), "in another order"
    )


def translation(setting: RuleSetting) -> str:
    """A vector added to all is added to the result."""
    rows, shift = setting.rows(), 10 * setting.rows(2)[0]
    moved = setting.apply(rows + shift[None], shift=shift)
    return _assert_close(
        moved, setting.apply(rows) + shift, "with a vector added to all"
    )


def scale(setting: RuleSetting) -> str:
    """A positive number that multiplies all multiplies the result."""
    rows = setting.rows()
    for factor in (1e-3, 1e3):
        found = setting.apply(factor * rows, scale=factor) / factor
        _assert_close(found, setting.apply(rows), f"with all workers times {factor:g}")
    return "times 0.001 and 1000"


def unanimity(setting: RuleSetting) -> str:
    """What all workers send is the result."""
    rows = jnp.broadcast_to(setting.rows()[:1], (setting.num_workers, setting.size))
    return _assert_close(setting.apply(rows), rows[0], "when all workers send the same")


def absence(setting: RuleSetting) -> str:
    """A worker of weight 0 is not there, whatever it sends."""
    rows, absent = setting.rows(), setting.num_workers // 2
    spoilt = rows.at[absent].set(jnp.nan)
    weight = jnp.ones(setting.num_workers).at[absent].set(0)

    @jax.jit
    def weighted(rows, weight):
        return setting.rule(rows, anchor=setting.anchor, weight=weight)

    others = jnp.delete(rows, absent, axis=0)
    if setting.works_with(setting.num_workers - 1):
        expected = setting.apply(others)
    else:
        expected = jnp.zeros(setting.size)  # which is out of its range
    return _assert_close(weighted(spoilt, weight), expected, "with a worker absent")


def float64(setting: RuleSetting) -> str:
    """The rule equals its oracle, also where all share a large mean."""
    oracle = setting.oracle
    assert oracle is not None
    for name, rows in (
        ("ordinary workers", setting.rows()),
        ("a common mean of 10000 deviations", 100 + 0.01 * setting.rows()),
    ):
        expected = oracle(np.asarray(rows, np.float64))
        _assert_close(
            setting.apply(rows), expected, f"for {name}, compared with the oracle"
        )
    return "ordinary workers, and a common mean of 10000 deviations"


def sharded(setting: RuleSetting) -> str:
    """Cut into the parts of W workers, the result is the same."""
    tx = _aggregate.aggregate(_AXIS, setting.rule, route="scatter")
    extra = {"reference": setting.anchor} if setting.rule.anchor == "reference" else {}

    def worker(updates):
        return tx.update(updates, tx.init(updates), **extra)[0]

    rows = setting.rows()
    merged = jax.jit(jax.vmap(worker, axis_name=_AXIS))(rows)
    anchor = setting.anchor if setting.rule.anchor == "reference" else None
    stacked = _compiled_rule(setting.rule)(rows, anchor)
    if setting.rule.contract.symmetric:
        _assert_close(
            merged[0], stacked, "on the route scatter, compared with stacked gradients"
        )
    _assert_close(merged[1], merged[0], "on another worker")
    return f"{setting.num_workers} workers on the route scatter"


def hull(setting: RuleSetting) -> str:
    """Each coordinate stays between those of the honest."""
    honest = setting.num_workers - setting.num_byzantine
    for rows in _attacked_rows(setting):
        low, high = jnp.min(rows[:honest], axis=0), jnp.max(rows[:honest], axis=0)
        found = setting.apply(rows)
        outside = jnp.maximum(low - found, found - high)
        if not (outside <= 1e-5 * (1 + jnp.abs(high - low))).all():
            raise AssertionError(
                f"a coordinate lies {float(jnp.max(outside)):g} outside those of the "
                "honest workers."
            )
    return f"{setting.num_byzantine} attackers, near and far"


def bounded(setting: RuleSetting) -> str:
    """However far the attackers go, the result stays near the honest workers."""
    honest = setting.num_workers - setting.num_byzantine
    worst = 0.0
    sent = [_send_rows(setting, attack) for attack in setting.attacks]
    for rows in (*_attacked_rows(setting), *sent):
        mean = jnp.mean(rows[:honest], axis=0)
        # A single honest worker spreads nothing: compare with its length then.
        spread = jnp.max(jnp.linalg.norm(rows[:honest] - mean[None], axis=1))
        width = jnp.where(honest > 1, spread, jnp.linalg.norm(mean))
        error = jnp.linalg.norm(setting.apply(rows) - mean)
        worst = max(worst, float(error / width))
    if not worst <= 10 * np.sqrt(setting.num_workers):
        raise AssertionError(
            f"the result lies {worst:g} times as far from the honest mean as any "
            "honest worker."
        )
    return f"at most {worst:.2f} times as far from the honest mean as the honest"


def not_finite(setting: RuleSetting) -> str:
    """As many as are tolerated change little; with one more the result is 0."""
    f, rows = setting.num_byzantine, setting.rows()
    honest = rows[: setting.num_workers - f]
    width = float(jnp.max(jnp.abs(honest))) * 10
    for bad in _bad_rows(f, setting.size) if f else ():
        found = setting.apply(jnp.concatenate([honest, bad]))
        if not (jnp.abs(found) <= width * np.sqrt(setting.size)).all():
            raise AssertionError(f"the result is {found} for {f} bad rows {bad[:, :2]}")
    if f + 1 > setting.num_workers:
        return f"{f} with NaN, infinity or both"
    too_many = rows.at[: f + 1, 0].set(jnp.nan)
    if (setting.apply(too_many) != 0).any():
        raise AssertionError(f"the result is not 0 although {f + 1} are not finite.")
    return f"{f} with NaN, infinity or both; zero for {f + 1}"


def resilience(setting: RuleSetting) -> str:
    """Under every attack the error is within the constant that is proved."""
    f, worst = setting.num_byzantine, (0.0, "no attack")
    attacks = setting.attacks + setting.optimal_attacks
    sent = [(_send_rows(setting, attack), attack.name) for attack in attacks]
    # An anchor stands near the honest mean, and not near another one.
    far = _opposite_rows(setting) if setting.anchor is None else ()
    for rows, name in (*sent, *far):
        ratio = _estimate_kappa.error_ratio(
            setting.apply, rows, setting.num_workers - f
        )
        worst = max(worst, (float(ratio), name))
    bound = setting.rule.contract.robustness(setting.num_workers, f)
    if not worst[0] <= bound * (1 + 1e-4) + 1e-6:
        raise AssertionError(
            f"under {worst[1]} kappa is {worst[0]:g}, more than the {bound:g} proved."
        )
    return f"{len(attacks)} attacks, the worst {worst[1]}: {worst[0]:.3g}"


_DEVIATIONS = (10.0, 30.0)  # that the honest mean is long
_FAR = (1e2, 1e4, 1e6)  # times that mean


def _opposite_rows(setting: RuleSetting):
    """Yield rows that share a large mean, and attackers far on the other side of it.

    What clips first makes the same of them all, however far they are.
    """
    rows = setting.rows() - 0.5
    is_byzantine = jnp.arange(setting.num_workers) >= (
        setting.num_workers - setting.num_byzantine
    )
    direction = setting.rows(3)[:1]
    direction = direction / jnp.linalg.norm(direction)
    for length in _DEVIATIONS:
        mean = length * np.sqrt(setting.size) * direction
        for far in _FAR:
            name = f"{far:g} times the opposite of a mean of {length:g} deviations"
            yield jnp.where(is_byzantine[:, None], -far * mean, mean + rows), name


def kappa(setting: RuleSetting) -> str:
    """No inputs are found on which the constant that is proved is exceeded."""
    f, num_workers = setting.num_byzantine, setting.num_workers
    bound = setting.rule.contract.robustness(num_workers, f)
    found = _estimate_kappa.estimate_kappa(
        setting.rule, num_workers, f, num_starts=64, num_steps=100, key=setting.seed
    )
    if not found.kappa <= bound * (1 + 1e-4) + 1e-6:
        raise AssertionError(
            f"kappa is {found.kappa:g} for the rows\n{found.rows}\nmore than the "
            f"{bound:g} proved."
        )
    return f"at least {found.kappa:.3g} of the {bound:.3g} proved"


def is_promised(setting: RuleSetting, name: str) -> bool:
    """Whether the contract promises it."""
    contract = setting.rule.contract
    robust = contract.num_byzantine is not None
    constant = contract.robustness(setting.num_workers, setting.num_byzantine)
    promised = {
        "permutation": contract.symmetric,
        "translation": contract.translation_equivariant,
        "scale": contract.scale_equivariant,
        "unanimity": contract.translation_equivariant and setting.anchor is None,
        # Who draws, or has weights of its own, does otherwise with fewer workers.
        "absence": contract.knows_absent
        and contract.symmetric
        and (robust or setting.works_with(setting.num_workers - 1)),
        "float64": setting.oracle is not None,
        "hull": contract.in_hull,
        "bounded": robust,
        "not_finite": robust,
        "resilience": robust and math.isfinite(constant),
        "kappa": robust and math.isfinite(constant) and setting.anchor is None,
    }
    return promised.get(name, True)


_FEWER = (12, 10, 8, 7, 5, 3, 2)  # where the rule cannot work with more


def other_numbers(setting: RuleSetting) -> str:
    """What holds for W workers holds for another number of them."""
    for number in (setting.more_workers, *_FEWER):
        if number != setting.num_workers and setting.works_with(number):
            break
    else:
        return "no other number of workers is possible"
    other = setting._replace(num_workers=number, attacks=(), optimal_attacks=())
    tried = {
        "permutation": permutation,
        "translation": translation,
        "unanimity": unanimity,
        "bounded": bounded,
    }
    for name, check in tried.items():
        if is_promised(other, name):
            try:
                check(other)
            except AssertionError as error:
                raise AssertionError(f"of {number} workers: {error}") from error
    return f"{number} workers"


def _send_rows(setting: RuleSetting, attack: _attack.Attack) -> jax.Array:
    """Return the rows with what attackers make of the last of them."""
    return jax.jit(attack, static_argnums=1)(setting.rows(), setting.num_byzantine)


def _attacked_rows(setting: RuleSetting):
    """Yield rows whose last f are attackers, from near to very far."""
    rows, direction = setting.rows(), setting.rows(3)[:1]
    is_byzantine = jnp.arange(setting.num_workers) >= (
        setting.num_workers - setting.num_byzantine
    )
    for distance in (1.0, 10.0, 1e3, 1e9):
        for target in (distance * direction, -distance * direction, distance * rows):
            yield jnp.where(is_byzantine[:, None], target, rows)


def _bad_rows(count, size):
    """Yield rows that are not finite, everywhere or in one coordinate."""
    values = [jnp.nan, jnp.inf, -jnp.inf]
    mixed = jnp.asarray([values[i % 3] for i in range(count)])
    for column in (jnp.full(count, jnp.nan), jnp.full(count, jnp.inf), mixed):
        yield jnp.broadcast_to(column[:, None], (count, size))
        yield jnp.zeros((count, size)).at[:, size // 2].set(column)


def _assert_close(found, expected, where):
    """Return how near two results are, or raise."""
    expected = np.asarray(expected, np.float64)
    distance = float(np.max(np.abs(np.asarray(found, np.float64) - expected)))
    if not distance <= 1e-4 * (1e-2 + float(np.max(np.abs(expected)))):
        raise AssertionError(
            f"the result differs by {distance:g} {where}, where the largest element is "
            f"{float(np.max(np.abs(expected))):g}."
        )
    return f"equal to {distance:.1g}"
