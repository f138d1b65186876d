"""Which optimizers do the same with parts as with whole leaves."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxdist.aggregation import _coordinatewise

pytestmark = pytest.mark.usefixtures("standard_promotion")
WHOLE = {"w": (12, 7), "b": (5,), "s": ()}
PARTS = {"w": (1, 11), "b": (1,), "s": ()}
LABELS = {"w": "a", "b": "b", "s": "a"}


def _stateless(function):
    return optax.stateless(lambda updates, _: jax.tree.map(function, updates))


def _matrices(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


ALIKE = {
    "adamw": optax.adamw(1e-3, mask=_matrices),
    "narrow moments": optax.adam(1e-3, mu_dtype=jnp.bfloat16),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "lion": optax.lion(1e-3),
    "radam": optax.radam(optax.warmup_cosine_decay_schedule(0, 1, 10, 100)),
    "injected": optax.inject_hyperparams(optax.adamw)(
        optax.cosine_decay_schedule(1.0, 10)
    ),
    "partition": optax.partition(
        {"a": optax.adam(1.0), "b": optax.set_to_zero()}, LABELS
    ),
    "schedule free": optax.contrib.schedule_free_adamw(1e-3),
    "elements": optax.clip(1.0),
}
MIXING = {
    "global norm": optax.clip_by_global_norm(1.0),
    "lamb": optax.lamb(1e-3),
    "adafactor": optax.adafactor(1e-3),
    "muon": optax.contrib.muon(1e-3),
    "noise": optax.add_noise(0.1, 0.5, 0),
    "finite": optax.apply_if_finite(optax.sgd(1.0), 3),
    "places": _stateless(lambda x: x * jnp.arange(1.0 * x.size).reshape(x.shape)),
    "order": _stateless(lambda x: x if not x.ndim else jnp.flip(x)),
}
SHAPES = {
    "size": _stateless(lambda x: x / x.size),
    "mask": optax.masked(
        optax.scale(0.1), lambda p: jax.tree.map(lambda x: x.size > 20, p)
    ),
}


def _check(inner):
    like = [
        {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in s.items()}
        for s in (WHOLE, PARTS)
    ]
    _coordinatewise.check_coordinatewise(inner, *like)


@pytest.mark.parametrize("inner", ALIKE.values(), ids=list(ALIKE))
def test_optimizers_that_fit(inner):
    _check(inner)


@pytest.mark.parametrize("inner", MIXING.values(), ids=list(MIXING))
def test_optimizers_that_mix_elements(inner):
    with pytest.raises(ValueError, match="mixes the elements"):
        _check(inner)


@pytest.mark.parametrize("inner", SHAPES.values(), ids=list(SHAPES))
def test_optimizers_that_look_at_shapes(inner):
    with pytest.raises(ValueError, match="must not look at shapes"):
        _check(inner)
