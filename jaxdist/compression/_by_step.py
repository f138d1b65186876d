"""By step: which compressor when.

A payload has a static size, so density, bits and rank cannot be traced values. Each
stage is compiled as a branch, and all branches share one state. Stages whose states
differ are refused: a change of stage would lose what was not sent yet.
"""

from collections.abc import Mapping

from jaxdist import _checks
from jaxdist.compression import _compressor, _per_leaf


def by_step(
    compressors: Mapping[int, _compressor.Compressor | _compressor.LeafPolicy],
) -> _compressor.StepPolicy:
    """Change the compressor at given steps, within one compiled program.

    Use it for a dense warm-up, or for densities, bits and ranks that follow a schedule.
    All stages share one state, so that the next stage sends what one stage has not
    sent. Their states must therefore have the same structure: start with
    ``error_feedback(identity())`` and not with ``identity()``, with
    ``identity(memory_of=power_sgd(4))`` before ``power_sgd(4)``, and give ranks of
    :func:`power_sgd` a common ``max_rank``.

    Args:
      compressors: Maps the first step of each stage to its compressor or policy; 0
        must be among them. Steps are counted by the transformation.

    Returns:
      A policy, accepted wherever a transformation takes a compressor. Every stage is
      compiled once, and a step runs only its own.

    Raises:
      ValueError: If no stage starts at 0 or a step is negative; when a state is made,
        if the stages' states differ.
      TypeError: If a compressor is none.

    Communication:
      That of the current stage; ``communication_report(..., step=n)`` lists it.

    Example:
      >>> feedback = jaxdist.compression.error_feedback
      >>> warm_up = jaxdist.compression.by_step(
      ...     {
      ...         0: feedback(jaxdist.compression.identity()),
      ...         1: feedback(jaxdist.compression.top_k(0.5)),
      ...     }
      ... )
      >>> tx = jaxdist.compress(warm_up)
      >>> updates = jnp.array([3.0, 1.0])
      >>> state = tx.init(updates)
      >>> for _ in range(2):
      ...     seen, state = tx.update(updates, state)
      ...     print(seen)
      [3. 1.]
      [3. 0.]

    References:
      Lin et al., `Deep Gradient Compression <https://arxiv.org/abs/1712.01887>`_,
      2018, Section 3.3, for warm-up.
    """
    if not isinstance(compressors, Mapping):
        raise TypeError(
            "`compressors` must map first steps to compressors, such as {0: "
            f"identity(), 100: top_k(0.01)}}, got {compressors!r}."
        )
    for start, compressor in compressors.items():
        _checks.integer("compressors", start, 0)
        _per_leaf.check_compressor(f"compressors[{start}]", compressor, policies=True)
    if 0 not in compressors:
        raise ValueError(
            "`compressors` must say what to use from step 0 on, got the steps "
            f"{sorted(compressors)}."
        )
    starts = tuple(sorted(compressors))
    stages = tuple(compressors[start] for start in starts)
    listed = ", ".join(
        f"{start}: {stage}" for start, stage in zip(starts, stages, strict=True)
    )
    return _compressor.StepPolicy(starts, stages, f"by_step({{{listed}}})")
