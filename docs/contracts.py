"""Write the tables of contracts that pages include, from the code."""

import math
import pathlib

import jax
import jax.numpy as jnp

import jaxdist as jd

SIZE = 2**20  # elements of a leaf of which contracts and bytes are stated
ROWS = [
    jd.compression.identity(),
    jd.compression.cast(jnp.bfloat16),
    jd.compression.blockwise_int(8),
    jd.compression.blockwise_int(4),
    jd.compression.blockwise_float8(),
    jd.compression.natural(),
    jd.compression.qsgd(8),
    jd.compression.qsgd(4, norm="max"),
    jd.compression.terngrad(),
    jd.compression.eden(4),
    jd.compression.eden(2),
    jd.compression.drive(),
    jd.compression.one_bit(),
    jd.compression.scaled_sign(),
    jd.compression.top_k(0.01),
    jd.compression.top_k(0.01, 4096),
    jd.compression.dct_top_k(0.01),
    jd.compression.threshold(density=0.01, max_density=0.02),
    jd.compression.cat(jd.compression.PacketCost(), max_density=0.02),
    jd.compression.quantized(
        jd.compression.top_k(0.01, 4096), jd.compression.blockwise_int(8)
    ),
    jd.compression.random_k(0.01),
    jd.compression.random_k(0.01, shared=False),
    jd.compression.atomo(0.01),
    jd.compression.atomo(0.01, basis="dct"),
    jd.compression.atomo(0.01, basis="svd"),
    jd.compression.gspar(0.01),
    jd.compression.power_sgd(4),
]

NUM_WORKERS, NUM_BYZANTINE = 16, 3  # of which the constants of rules are stated
_F = NUM_BYZANTINE
RULES = [
    jd.rules.mean(),
    jd.rules.median(),
    jd.rules.trimmed_mean(_F),
    jd.rules.meamed(_F),
    jd.rules.phocas(_F),
    jd.rules.sign_majority(),
    jd.rules.krum(_F),
    jd.rules.multi_krum(_F),
    jd.rules.bulyan(_F),
    jd.rules.minimum_diameter(_F),
    jd.rules.minimum_variance(_F),
    jd.rules.smea(_F),
    jd.rules.geometric_median(),
    jd.rules.centered_clipping(10.0),
    jd.rules.cge(_F),
    jd.rules.monna(_F),
    jd.rules.aksel(_F),
    jd.rules.spectral_filter(_F, 1.0),
    jd.rules.caf(_F),
    jd.rules.dnc(_F),
    jd.rules.clipped_clustering(),
    jd.rules.fltrust(),
    jd.rules.zeno(_F, 0.1, 0.01),
    jd.rules.nnm(_F, then=jd.rules.trimmed_mean(_F)),
    jd.rules.nnm(_F, then=jd.rules.krum(_F)),
    jd.rules.bucketing(2, _F, then=jd.rules.trimmed_mean),
    jd.rules.arc(_F, then=jd.rules.nnm(_F, then=jd.rules.trimmed_mean(_F))),
    jd.rules.clipping(1.0, then=jd.rules.trimmed_mean(_F)),
]


def rules() -> str:
    """Return the table of rules in Markdown."""
    lines = [
        "| rule | range | κ | translation | scale | hull | any order | compares with "
        "| route | sums besides |",
        "|---|---|---:|---|---|---|---|---|---|---|",
    ]
    for rule in RULES:
        contract = rule.contract
        marks = _marks(
            contract.translation_equivariant,
            contract.scale_equivariant,
            contract.in_hull,
            contract.symmetric,
        )
        limit = contract.limit if contract.num_byzantine else "f = 0"
        kappa = contract.robustness(NUM_WORKERS, NUM_BYZANTINE)
        constant = f"{kappa:.3g}" if contract.num_byzantine and kappa < 1e9 else ""
        lines.append(
            f"| `{rule.name}` | {limit} | {constant} | {marks} | {_anchor(rule)} "
            f"| {_cost(rule)} |"
        )
    return "\n".join(lines) + "\n"


def _marks(*facts: bool) -> str:
    """Return the cells of what is true or not."""
    return " | ".join("yes" if fact else "" for fact in facts)


def _anchor(rule: jd.AggregationRule) -> str:
    """Return with what a rule compares the workers besides each other."""
    known = {"previous": "its last result", "reference": "a reference gradient"}
    if isinstance(rule.anchor, str):
        return known[rule.anchor]
    return "their median" if rule.anchor else ""


def _cost(rule: jd.AggregationRule) -> str:
    """Return the cells of how a gradient travels, and what is summed besides it."""
    tx = jd.aggregate("data", rule)
    gradient = jnp.zeros(SIZE)
    extra = {"reference": gradient} if rule.anchor == "reference" else {}
    whole, *besides = jd.communication_report(
        tx, gradient, NUM_WORKERS, **extra
    ).shipments
    sums = (f"{math.prod(x.shape)} {x.leaf.strip('()')}" for x in besides)
    return f"{whole.route} | {', '.join(sums)}"


def table() -> str:
    """Return the table of compressors in Markdown."""
    lines = [
        "| compressor | unbiased | ω or δ | linear | splits | random | aligned "
        "| bits per element |",
        "|---|---|---|---|---|---|---|---:|",
    ]
    # A square, since low rank needs a matrix.
    leaf = jax.ShapeDtypeStruct((1024, SIZE // 1024), jnp.float32)
    for compressor in ROWS:
        contract = compressor.contract
        marks = _marks(
            contract.linear,
            contract.splittable,
            contract.stochastic,
            contract.aligned,
        )
        bits = 8 * jd.payload_nbytes(compressor, leaf) / SIZE
        lines.append(
            f"| `{compressor.name}` | {'yes' if contract.unbiased else ''} "
            f"| {_bound(contract)} | {marks} | {bits:.3g} |"
        )
    return "\n".join(lines) + "\n"


def _bound(contract: jd.Contract) -> str:
    """Return the variance of what is unbiased, else the contraction."""
    if contract.unbiased:
        return f"ω = {contract.variance(SIZE):.3g}"
    return f"δ = {contract.contraction(SIZE):.3g}"


def write(folder: pathlib.Path) -> None:
    """Write the tables to files."""
    for name, text in (("_contracts.md", table()), ("_rules.md", rules())):
        (folder / name).write_text(text, encoding="utf-8")
