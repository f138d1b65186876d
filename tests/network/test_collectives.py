"""What is timed one by one is what it is called."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from benchmarks.network import collectives

FIRST, SECOND = range(8), range(8, 16)  # bytes of the hosts
EXPECTED = {
    "all_gather": [*FIRST, *SECOND, *FIRST, *SECOND],
    "all_to_all": [*FIRST[:4], *SECOND[:4], *FIRST[4:], *SECOND[4:]],
    "ppermute": [*SECOND, *FIRST],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_collectives_of_two_hosts(name):
    mesh = jax.make_mesh((2,), (collectives.AXIS,))
    hosts = jax.NamedSharding(mesh, PartitionSpec(collectives.AXIS))
    mapped = jax.shard_map(
        collectives.collectives(2)[name],
        mesh=mesh,
        in_specs=PartitionSpec(collectives.AXIS),
        out_specs=PartitionSpec(collectives.AXIS),
        check_vma=False,
    )
    out = jax.jit(mapped)(jax.device_put(np.arange(16, dtype=np.uint8), hosts))
    np.testing.assert_array_equal(out, EXPECTED[name])
