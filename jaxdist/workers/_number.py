"""Number: what is said where nobody knows how many workers there are."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def wanted_number(why: str) -> Iterator[None]:
    """Say how to make a state whose shape depends on W, where no axis is mapped.

    Args:
      why: What of the state depends on it, a sentence without its end.
    """
    try:
        yield
    except NameError as error:
        raise NameError(
            f"{error} {why}, so the number of workers must be known: make the state "
            "with jaxdist.init(tx, params, mesh, axis_name), or call tx.init inside "
            "shard_map, pmap or vmap."
        ) from None
