"""Marks of the tests that need hosts of their own."""

import pytest

from benchmarks.network import hosts

WHY_NOT = hosts.missing()
needs_hosts = pytest.mark.skipif(WHY_NOT is not None, reason=f"no hosts: {WHY_NOT}")
