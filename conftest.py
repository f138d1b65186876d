"""Names that every doctest may use."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxdist


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(jax=jax, jaxdist=jaxdist, jnp=jnp, optax=optax)
