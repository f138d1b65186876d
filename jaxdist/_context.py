"""Context: values that hold while something is traced, and end with it."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import TypeVar

Value = TypeVar("Value")


@contextlib.contextmanager
def assigned(variable: contextvars.ContextVar[Value], value: Value) -> Iterator[None]:
    """Let a context variable have a value inside."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
