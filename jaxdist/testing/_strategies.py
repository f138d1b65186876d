"""Strategies: leaves and gradient trees for hypothesis."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError(
        "jaxdist.testing.leaves and gradient_trees need hypothesis: install it with "
        "`pip install jaxdist[testing]` or `pip install hypothesis`."
    ) from error

_NAMES: list[str] = ["bias", "block", "embed", "kernel", "scale"]


def leaves(
    *,
    shapes: Sequence[tuple[int, ...]] | None = None,
    dtypes: Sequence[Any] = (jnp.float32,),
    max_size: int = 64,
    finite: bool = True,
) -> st.SearchStrategy[jax.Array]:
    """Draw leaves such as gradients have: of any rank, flat, sparse, huge or tiny.

    Args:
      shapes: Shapes to choose from; None draws them, from scalars to four axes.
      dtypes: Floating dtypes to choose from.
      max_size: Most elements of a drawn shape.
      finite: Whether all elements are finite; otherwise NaN and infinities occur.

    Returns:
      A strategy of arrays. Elements are zero or within the normal range of their
      dtype (1e-30 to 1e30, or 1e-3 to 1e3 in float16), and shrink to zero.

    Raises:
      ValueError: If ``max_size`` is below 1.
      ImportError: If hypothesis is not installed.

    Communication:
      None.

    Example:
      >>> import hypothesis, jaxdist.testing
      >>> @hypothesis.settings(max_examples=5, deadline=None)
      ... @hypothesis.given(jaxdist.testing.leaves())
      ... def test_identity(leaf):
      ...     assert (
      ...         jaxdist.roundtrip(jaxdist.compression.identity(), leaf)[0] == leaf
      ...     ).all()
      >>> test_identity()
    """
    max_size = _checks.integer("max_size", max_size, 1)
    _checks.flag("finite", finite)
    dtypes = [_checks.floating_dtype("dtypes", x) for x in _several("dtypes", dtypes)]
    if shapes is not None:
        shapes = [_checked_shape(shape) for shape in _several("shapes", shapes)]
    shape = _drawn_shapes(max_size) if shapes is None else st.sampled_from(list(shapes))
    return st.tuples(shape, st.sampled_from(list(dtypes))).flatmap(
        lambda drawn: _drawn_arrays(*drawn, finite)
    )


def gradient_trees(
    leaf: st.SearchStrategy[jax.Array] | None = None, *, max_leaves: int = 4
) -> st.SearchStrategy[dict[str, Any]]:
    """Draw nested dictionaries of leaves, as gradients of a network are.

    Args:
      leaf: Strategy of the leaves; None is :func:`leaves` and sometimes a leaf without
        elements.
      max_leaves: Most leaves of a tree, about.

    Returns:
      A strategy of dictionaries with at least one leaf.

    Raises:
      ValueError: If ``max_leaves`` is below 1.
      ImportError: If hypothesis is not installed.

    Communication:
      None.

    Example:
      >>> import hypothesis, jaxdist.testing
      >>> tx = jaxdist.compress(jaxdist.compression.scaled_sign())
      >>> @hypothesis.settings(max_examples=5, deadline=None)
      ... @hypothesis.given(jaxdist.testing.gradient_trees())
      ... def test_structure(updates):
      ...     seen, _ = tx.update(updates, tx.init(updates))
      ...     assert jax.tree.structure(seen) == jax.tree.structure(updates)
      >>> test_structure()
    """
    max_leaves = _checks.integer("max_leaves", max_leaves, 1)
    if leaf is not None:
        _checks.instance("leaf", leaf, st.SearchStrategy, "jaxdist.testing.leaves()")
    if leaf is None:
        leaf = leaves() | st.builds(lambda: jnp.zeros((0, 3)))

    def nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        return st.dictionaries(
            st.sampled_from(_NAMES), children, min_size=1, max_size=max_leaves
        )

    return nested(st.recursive(leaf, nested, max_leaves=max_leaves))


def _several(name: str, values: Any) -> list[Any]:
    """Return several values, or raise when they are not several."""
    if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
        raise TypeError(f"`{name}` must be several in a list, got {values!r}.")
    return list(values)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape without zeros, or raise when it is none."""
    if not isinstance(shape, tuple | list):
        raise TypeError(f"`shapes` must hold tuples of integers, got {shape!r}.")
    return tuple(_checks.integer("shapes", size, 1) for size in shape)


def _drawn_shapes(max_size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw shapes of up to four axes."""

    def of_rank(rank: int) -> st.SearchStrategy[tuple[int, ...]]:
        longest = int(max_size ** (1 / max(1, rank)) + 1e-9)
        return st.tuples(*[st.integers(1, longest)] * rank)

    return st.integers(0, 4).flatmap(of_rank)


def _drawn_arrays(
    shape: tuple[int, ...], dtype: Any, finite: bool
) -> st.SearchStrategy[jax.Array]:
    """Draw arrays of one shape and dtype."""
    exponent = 3 if jnp.finfo(dtype).maxexp < 100 else 30
    size = int(np.prod(shape))

    def scaled(values, power):
        return values * np.float32(10.0**power)

    ordinary = hnp.arrays(np.float32, shape, elements=_drawn_elements(finite))
    mixed = hnp.arrays(np.float32, shape, elements=_drawn_magnitudes(exponent))
    one_hot = st.integers(0, size - 1).map(
        lambda i: np.eye(1, size, i, dtype=np.float32).reshape(shape)
    )
    powers = st.integers(-exponent, exponent - 2)
    drawn = st.one_of(
        ordinary,
        mixed,
        st.builds(scaled, one_hot, powers),
        st.builds(scaled, st.just(np.ones(shape, np.float32)), powers),
    )
    return drawn.map(lambda array: jnp.asarray(array.astype(jnp.dtype(dtype))))


def _drawn_elements(finite: bool) -> st.SearchStrategy[float]:
    """Draw ordinary numbers, or some that are not finite."""
    ordinary = st.integers(-1000, 1000).map(lambda number: number / 100)
    if finite:
        return ordinary
    return ordinary | st.sampled_from([np.nan, np.inf, -np.inf])


def _drawn_magnitudes(exponent: int) -> st.SearchStrategy[float]:
    """Draw zero, or numbers of any magnitude in the range."""
    return st.builds(
        lambda sign, digits, power: float(np.float32(sign * digits * 10.0**power)),
        st.sampled_from([0, 1, -1]),
        st.integers(1, 9),
        st.integers(-exponent, exponent - 1),
    )
