"""Write the table of contracts that docs/compression.md includes, from the code."""

import pathlib

import jax
import jax.numpy as jnp

import jaxdist as jd

SIZE = 2**20  # elements of a leaf of which contracts and bytes are stated
ROWS = [
    jd.identity(),
    jd.cast(jnp.bfloat16),
    jd.blockwise_int(8),
    jd.blockwise_int(4),
    jd.blockwise_float8(),
    jd.natural(),
    jd.qsgd(8),
    jd.qsgd(4, norm="max"),
    jd.terngrad(),
    jd.eden(4),
    jd.eden(2),
    jd.drive(),
    jd.one_bit(),
    jd.scaled_sign(),
    jd.top_k(0.01),
    jd.top_k(0.01, 4096),
    jd.dct_top_k(0.01),
    jd.threshold(density=0.01, max_density=0.02),
    jd.cat(jd.PacketCost(), max_density=0.02),
    jd.quantized(jd.top_k(0.01, 4096), jd.blockwise_int(8)),
    jd.random_k(0.01),
    jd.random_k(0.01, shared=False),
    jd.atomo(0.01),
    jd.atomo(0.01, basis="dct"),
    jd.atomo(0.01, basis="svd"),
    jd.gspar(0.01),
    jd.power_sgd(4),
]


def table() -> str:
    """Return the table in Markdown."""
    lines = [
        "| compressor | unbiased | ω or δ | linear | splits | random | aligned "
        "| bits per element |",
        "|---|---|---|---|---|---|---|---:|",
    ]
    # A square, since low rank needs a matrix.
    leaf = jax.ShapeDtypeStruct((1024, SIZE // 1024), jnp.float32)
    for compressor in ROWS:
        contract = compressor.contract
        marks = [
            "yes" if mark else ""
            for mark in (
                contract.linear,
                contract.splittable,
                contract.stochastic,
                contract.aligned,
            )
        ]
        bits = 8 * jd.payload_nbytes(compressor, leaf) / SIZE
        lines.append(
            f"| `{compressor.name}` | {'yes' if contract.unbiased else ''} "
            f"| {_bound(contract)} | {' | '.join(marks)} | {bits:.3g} |"
        )
    return "\n".join(lines) + "\n"


def _bound(contract: jd.Contract) -> str:
    """Return the variance of what is unbiased, else the contraction."""
    if contract.unbiased:
        return f"ω = {contract.variance(SIZE):.3g}"
    return f"δ = {contract.contraction(SIZE):.3g}"


def write(path: pathlib.Path) -> None:
    """Write the table to a file."""
    path.write_text(table(), encoding="utf-8")
