"""What ends a process that would otherwise wait for ever, or asks it to stop."""

import os
import signal
import sys
import threading
import time

import jax
from jax.experimental import multihost_utils


def leave(message: str) -> None:
    """Say why, and end the process at once: an orderly end waits for the dead."""
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


class Watchdog:
    """Ends the process when nothing has moved for some time.

    Python cannot interrupt a collective whose partner hangs, so a thread watches. It
    goes on to the very end, where processes wait for each other once more.
    """

    def __init__(self, start_timeout: float, timeout: float):
        """Allow ``start_timeout`` seconds to the first beat, then ``timeout`` each."""
        self._timeout = timeout
        self._last = "the start"
        self._due = time.monotonic() + start_timeout
        threading.Thread(target=self._watch, daemon=True).start()

    def beat(self, what: str) -> None:
        """Say that something was completed."""
        self._last, self._due = what, time.monotonic() + self._timeout

    def _watch(self) -> None:
        while time.monotonic() < self._due:
            time.sleep(0.2)
        leave(
            f"Nothing was completed since {self._last}: a process hangs or a link is "
            "down. The last checkpoint is intact: start all processes again, and they "
            "go on from there. (--timeout sets the limit.)"
        )


class Stop:
    """Whether SIGTERM came, to this process or, with several, to any of them."""

    def __init__(self):
        """Listen; with several processes, JAX listens."""
        self._came = False
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_) -> None:
        self._came = True

    def is_wanted(self, step: int) -> bool:
        """Whether all are to stop before this step; they all hear the same."""
        if jax.process_count() == 1:
            return self._came
        return multihost_utils.reached_preemption_sync_point(step)
