"""Collectives mean the same over one axis or two, mapped in any way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxdist import _collectives
from tests import harness

AXES = ("pod", "device")
# Of two phases: a permutation of all workers, and one of some, the others hear nobody.
SOURCES = np.array([[7, 0, 1, 2, 3, 4, 5, 6], [3, 1, 0, 3, 4, 2, 6, 7]])


def heard(rows, sources):
    """Return what each worker hears; zeros where it hears nobody."""
    hears = (sources != np.arange(8)).reshape(8, *[1] * (rows.ndim - 1))
    return np.where(hears, rows[sources], 0)


def over_two_axes(fn, backend, array, axis_type=AxisType.Auto):
    """Map over axes of sizes 2 and 4; arguments and results are ``[8, ...]``."""
    if backend == "vmap":
        nested = jax.jit(jax.vmap(jax.vmap(fn, axis_name="device"), axis_name="pod"))
        out = nested(array.reshape(2, 4, *array.shape[1:]))
        return jax.tree.map(lambda x: x.reshape(8, *x.shape[2:]), out)
    mesh = jax.make_mesh((2, 4), AXES, axis_types=(axis_type,) * 2)
    spec = PartitionSpec(AXES)
    array = jax.device_put(array, jax.NamedSharding(mesh, spec))

    def on_slice(array):
        return jax.tree.map(lambda x: x[None], fn(array[0]))

    check = backend == "shard_map"
    return jax.jit(
        jax.shard_map(
            on_slice, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check
        )
    )(array)


def everything(axis):
    """Return a function that calls every collective and concatenates what comes."""

    def fn(row):
        me = _collectives.axis_index(axis)
        rows = row[None] + jnp.arange(8.0).reshape(8, *[1] * row.ndim)
        return {
            "index": me,
            "gather": _collectives.all_gather(row, axis),
            "all_to_all": _collectives.all_to_all(rows, axis),
            "psum": _collectives.psum({"x": row}, axis)["x"],
            "from_worker": _collectives.from_worker(row, jnp.asarray(5), axis),
            "permute": _collectives.permute(row, SOURCES, axis, jnp.asarray(1)),
            "permute_all": _collectives.permute(row, SOURCES[:1], axis),
        }

    return fn


def expected(array):
    rows = np.asarray(array)
    return {
        "index": np.arange(8),
        "gather": np.stack([rows] * 8),
        "all_to_all": np.stack([rows + j for j in range(8)]),
        "psum": np.stack([rows.sum(axis=0)] * 8),
        "from_worker": np.stack([rows[5]] * 8),
        "permute": heard(rows, SOURCES[1]),
        "permute_all": heard(rows, SOURCES[0]),
    }


ARRAY = jnp.arange(24.0).reshape(8, 3) ** 2


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_one_axis(backend):
    actual = harness.run(everything(harness.AXIS), backend, ARRAY)
    jax.tree.map(np.testing.assert_array_equal, actual, expected(ARRAY))


@pytest.mark.parametrize("backend", ["vmap", "shard_map", "shard_map_no_vma"])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_two_axes(backend, axis_type):
    actual = over_two_axes(everything(AXES), backend, ARRAY, axis_type)
    jax.tree.map(np.testing.assert_array_equal, actual, expected(ARRAY))


def test_vmap_of_what_all_workers_share():
    """JAX's own all_to_all garbles the shape of an operand that is not mapped."""

    def fn(_):
        return _collectives.all_to_all(jnp.arange(8.0), harness.AXIS)

    actual = jax.jit(jax.vmap(fn, axis_name=harness.AXIS))(jnp.zeros(8))
    np.testing.assert_array_equal(actual, [[float(i)] * 8 for i in range(8)])


def test_types_are_tracked_only_under_shard_map_with_check_vma():
    seen = {}
    for backend in harness.BACKENDS:

        def fn(row, backend=backend):
            shared = jnp.zeros(3)
            seen[backend] = (
                _collectives.types_tracked(harness.AXIS),
                _collectives.is_varying(row, harness.AXIS),
                _collectives.is_varying(shared, harness.AXIS),
                _collectives.is_varying(
                    _collectives.to_varying(shared, harness.AXIS), harness.AXIS
                ),
            )
            # Twice is as good as once.
            twice = _collectives.to_varying(row, harness.AXIS)
            return _collectives.to_varying(twice, harness.AXIS)

        harness.run(fn, backend, ARRAY)
    assert seen.pop("shard_map") == (True, True, False, True)
    assert set(seen.values()) == {(False, True, True, True)}


def test_results_are_typed_as_equal_on_all_workers():
    def fn(row):
        out = everything(harness.AXIS)(row)
        for name in ("gather", "psum", "from_worker"):
            assert not _collectives.is_varying(out[name], harness.AXIS), name
        return out["psum"]

    harness.run(fn, "shard_map", ARRAY)


def test_is_bound():
    assert not _collectives.is_bound("nowhere")
    jax.jit(
        jax.vmap(lambda _: _collectives.is_bound("here") or 1 / 0, axis_name="here")
    )(ARRAY)


def test_psum_dtype_is_what_travels():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16, jnp.uint8, jnp.int32):
        array = jnp.ones((8, 4), dtype)
        mapped = harness.mapped(
            lambda x: _collectives.psum(x, harness.AXIS), "shard_map"
        )
        text = jax.jit(mapped).lower(array).compile().as_text()
        width = _collectives.psum_dtype(dtype).itemsize
        assert harness.collectives(text) == [("all-reduce", 4 * width)]


@pytest.mark.parametrize("axis_name", ["inner", ("outer", "inner")])
def test_vmap_inside_of_types_says_what_to_do(axis_name):
    mesh = jax.make_mesh((4,), ("outer",), axis_types=(AxisType.Auto,))

    def mapped(check_vma):
        total = jax.jit(
            jax.vmap(
                lambda x: _collectives.psum(x, axis_name),
                axis_name="inner",
                out_axes=None,
            )
        )
        out_specs = PartitionSpec("outer" if axis_name == "inner" else None)
        return jax.shard_map(
            total,
            mesh=mesh,
            in_specs=PartitionSpec("outer"),
            out_specs=out_specs,
            check_vma=check_vma,
        )

    with pytest.raises(ValueError, match="'inner' is mapped by jax.vmap .*check_vma=F"):
        jax.eval_shape(mapped(True), jnp.ones((8, 2)))
    jax.eval_shape(mapped(False), jnp.ones((8, 2)))
