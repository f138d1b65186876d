"""Several hosts on one machine: network namespaces behind a switch, with slow links.

Every host is a namespace with one interface, ``eth0``. The other end of its cable is a
port of a bridge, which lives in a namespace of its own: nothing is added to the network
of the machine itself, and no packet leaves it. Both directions of each link are held
back by a token bucket.

``python -m benchmarks.network.hosts`` removes what a killed run has left behind.
"""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

PREFIX = "jaxdist"  # of namespaces: PREFIX-PID-SERIAL-{0, 1, ..., switch}
SETTINGS = pathlib.Path("/etc/netns")
INTERFACE = "eth0"
LATENCY = "50ms"  # the most that a packet waits for the token bucket
BURST = 2e-3  # seconds: with a smaller bucket, timers waste a part of the faster rates
UNITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
TIMEOUT = 10  # seconds for one command of iproute2
_serial = itertools.count()


class Host(NamedTuple):
    """A host: where to run a process, and where others find it."""

    namespace: str
    address: str

    def command(self, *words: str) -> list[str]:
        """Return the command that runs these words there, and not longer than we."""
        enter = ["ip", "netns", "exec", self.namespace]
        return ["setpriv", "--pdeathsig", "KILL", *enter, *words]


class Network(NamedTuple):
    """Hosts whose cables go to one switch, that of host ``i`` to its port ``i``."""

    hosts: list[Host]
    switch: str  # its namespace

    def limit(self, rate: str | None) -> None:
        """Hold back both directions of every link, or none of them."""
        burst = 0.0 if rate is None else max(32_000, bits_per_second(rate) / 8 * BURST)
        for i, host in enumerate(self.hosts):
            _limit(host.namespace, INTERFACE, rate, burst)
            _limit(self.switch, f"port{i}", rate, burst)

    def cut(self, index: int) -> None:
        """Take down the link of a host."""
        _ip("-n", self.switch, "link", "set", f"port{index}", "down")


def missing() -> str | None:
    """Return why there cannot be hosts here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root: run this with sudo"
    for tool, package in {
        "ip": "iproute2",
        "tc": "iproute2",
        "setpriv": "util-linux",
    }.items():
        if shutil.which(tool) is None:
            return f"the command `{tool}` is missing: install {package}"
    probe = f"{PREFIX}-{os.getpid()}-{next(_serial)}-probe"
    try:
        _ip("netns", "add", probe)
        _ip("link", "add", INTERFACE, "netns", probe, "type", "veth")
        _limit(probe, INTERFACE, "1gbit", 32_000)
    except RuntimeError as error:
        return f"this machine does not allow it: {error}"
    finally:
        _remove(probe)
    return None


def bits_per_second(rate: str) -> float:
    """Return what a rate such as "100mbit" means."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]bit)", rate)
    if found is None:
        raise ValueError(
            f"`rate` must be a number with kbit, mbit or gbit, such as '100mbit', or "
            f"None for no limit, got {rate!r}."
        )
    return float(found[1]) * UNITS[found[2]]


@contextlib.contextmanager
def connected(num_hosts: int, rate: str | None = None) -> Iterator[Network]:
    """Make hosts that reach each other, and remove them in the end.

    Args:
      num_hosts: How many, 1 to 99.
      rate: Of each link in each direction, such as ``"100mbit"``; None for no limit.
    """
    if not 1 <= num_hosts <= 99:
        raise ValueError(f"`num_hosts` must lie in [1, 99], got {num_hosts}.")
    if rate is not None:
        bits_per_second(rate)  # raises before anything is made
    remove_stale()
    stem = f"{PREFIX}-{os.getpid()}-{next(_serial)}"
    switch = f"{stem}-switch"
    hosts = [Host(f"{stem}-{i}", f"10.77.0.{i + 1}") for i in range(num_hosts)]
    try:
        _make_switch(switch)
        for i, host in enumerate(hosts):
            _plug_in(host, switch, f"port{i}")
        network = Network(hosts, switch)
        network.limit(rate)
        yield network
    finally:
        for name in [*(host.namespace for host in hosts), switch]:
            _remove(name)


def remove_stale() -> list[str]:
    """Remove namespaces whose makers have ended; return their names."""
    stale = []
    for line in _ip("netns", "list").splitlines():
        owner = owner_of(line.split()[0]) if line.strip() else None
        if owner is not None and not pathlib.Path(f"/proc/{owner}").exists():
            stale.append(line.split()[0])
    for name in stale:
        _remove(name)
    return stale


def owner_of(namespace: str) -> int | None:
    """Return the process that made a namespace, or None when it is not one of ours."""
    found = re.fullmatch(rf"{PREFIX}-(\d+)-\d+-(\d+|switch|probe)", namespace)
    return int(found[1]) if found else None


def _make_switch(name):
    _ip("netns", "add", name)
    _ip("-n", name, "link", "add", "bridge", "type", "bridge")
    _ip("-n", name, "link", "set", "bridge", "addrgenmode", "none", "up")


def _plug_in(host, switch, port):
    """Make a host, and a cable from its interface to a port of the switch."""
    name = host.namespace
    _write_settings(host)
    _ip("netns", "add", name)
    cable = ["link", "add", INTERFACE, "netns", name, "type", "veth"]
    _ip(*cable, "peer", "name", port, "netns", switch)
    _ip("-n", name, "link", "set", INTERFACE, "addrgenmode", "none")
    _ip("-n", name, "addr", "add", f"{host.address}/24", "dev", INTERFACE)
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "link", "set", INTERFACE, "up")
    _ip("-n", switch, "link", "set", port, "addrgenmode", "none", "master", "bridge")
    _ip("-n", switch, "link", "set", port, "up")


def _write_settings(host):
    """Let the machine's name mean the host's own address there: gloo binds to it."""
    folder = SETTINGS / host.namespace
    folder.mkdir(parents=True)
    (folder / "hosts").write_text(
        f"127.0.0.1 localhost\n{host.address} {socket.gethostname()}\n"
    )


def _limit(namespace, interface, rate, burst):
    """Replace what holds an interface back."""
    if rate is None:
        with contextlib.suppress(RuntimeError):  # there may be nothing to delete
            _run("tc", "-n", namespace, "qdisc", "del", "dev", interface, "root")
        return
    bucket = ["tbf", "rate", rate, "burst", f"{burst:.0f}b", "latency", LATENCY]
    _run("tc", "-n", namespace, "qdisc", "replace", "dev", interface, "root", *bucket)


def _remove(namespace):
    """Remove a namespace with all that is in it, as far as it is there."""
    with contextlib.suppress(RuntimeError):
        _ip("netns", "delete", namespace)
    shutil.rmtree(SETTINGS / namespace, ignore_errors=True)


def _ip(*words):
    return _run("ip", *words)


def _run(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    print("Removed:", *remove_stale())
