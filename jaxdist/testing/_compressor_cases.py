"""Compressor cases: one parameter of a test for each promise of each compressor."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jaxdist.compression import _compressor, _per_leaf
from jaxdist.testing import _check_compressor


class CompressorCase(NamedTuple):
    """One property of one compressor; ``str`` names it."""

    compressor: _compressor.Compressor
    property: str
    options: Mapping[str, Any]

    def __str__(self):
        return f"{self.compressor.name}-{self.property}"

    def check(self) -> _check_compressor.CompressorReport:
        """Raise unless the compressor keeps this promise."""
        return _check_compressor.check_compressor(
            self.compressor, properties=[self.property], **self.options
        )


def compressor_cases(
    compressors: Iterable[_compressor.Compressor],
    *,
    properties: Iterable[str] = _check_compressor.PROPERTIES,
    **options: Any,
) -> list[CompressorCase]:
    """Return one case for each promise of each compressor, to parametrize a test.

    What a contract does not promise would check nothing, and is no case.

    Args:
      compressors: The compressors.
      properties: Which of :data:`PROPERTIES` to check.
      **options: Of :func:`check_compressor`, for every case. The probability of a false
        alarm is that of a single case.

    Returns:
      Cases whose ``str`` is ``"compressor-property"``, and whose method ``check``
      raises what :func:`check_compressor` does.

    Raises:
      TypeError: If a compressor is none.
      ValueError: If a property or an option is not one of :func:`check_compressor`.

    Communication:
      None.

    Example:
      >>> import jaxdist.testing
      >>> cases = jaxdist.testing.compressor_cases(
      ...     [jaxdist.compression.identity()], properties=["zeros", "payload"]
      ... )
      >>> # @pytest.mark.parametrize("case", cases, ids=str)
      >>> def test_promise(case):
      ...     case.check()
      >>> print(*cases)
      identity()-zeros identity()-payload
    """
    chosen = _check_compressor.listed("properties", properties)
    compressors = _check_compressor.listed("compressors", compressors)
    for compressor in compressors:
        _per_leaf.check_compressor("compressors", compressor)
    return [
        CompressorCase(compressor, name, options)
        for compressor in compressors
        for name in _check_compressor.promised_properties(compressor, chosen, **options)
    ]
