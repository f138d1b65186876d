"""Hosts on one machine: what they are called, how they are connected and removed."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from benchmarks.network import hosts
from tests.network.marks import needs_hosts

pytestmark = pytest.mark.xdist_group("processes")
HELLO = """
import socket
with socket.create_server(("", 5579)) as server, server.accept()[0] as peer:
    peer.sendall(socket.gethostbyname(socket.gethostname()).encode())
"""
ASK = """
import socket, sys, time
for _ in range(100):
    try:
        with socket.create_connection((sys.argv[1], 5579), 5) as peer:
            print(peer.recv(100).decode())
            break
    except ConnectionRefusedError:
        time.sleep(0.05)
"""


def namespaces():
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listed.stdout.splitlines()}


@pytest.mark.parametrize(
    ("rate", "bits"), [("100mbit", 1e8), ("1gbit", 1e9), ("2.5kbit", 2500.0)]
)
def test_rates_are_read(rate, bits):
    assert hosts.bits_per_second(rate) == bits


@pytest.mark.parametrize("rate", ["100", "fast", "1gbit; rm", "-1mbit"])
def test_what_is_no_rate_says_so(rate):
    with pytest.raises(ValueError, match="`rate` must be a number with kbit"):
        hosts.bits_per_second(rate)


@pytest.mark.parametrize("num_hosts", [0, 100])
def test_too_few_or_many_hosts_say_so(num_hosts):
    with (
        pytest.raises(
            ValueError, match=rf"`num_hosts` must lie in \[1, 99\].*{num_hosts}"
        ),
        hosts.connected(num_hosts),
    ):
        pass


def test_only_our_namespaces_have_an_owner():
    assert hosts.owner_of("jaxdist-41-0-switch") == 41
    assert hosts.owner_of("jaxdist-41-3-12") == 41
    for name in ("jaxdist", "jaxdist-41", "jaxdist-x-0-1", "other-41-0-1"):
        assert hosts.owner_of(name) is None


def test_without_root_it_says_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "need root" in hosts.missing()


def test_without_iproute2_it_says_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    assert hosts.missing() == "the command `ip` is missing: install iproute2"


@needs_hosts
def test_hosts_reach_each_other_by_their_own_name():
    with hosts.connected(2) as network:
        first, second = network.hosts
        server = subprocess.Popen(first.command(sys.executable, "-c", HELLO))
        asked = subprocess.run(
            second.command(sys.executable, "-c", ASK, first.address),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert server.wait(10) == 0
    assert asked.stdout.strip() == first.address


@needs_hosts
def test_links_are_held_back_in_both_directions_and_let_go():
    with hosts.connected(2, "100mbit") as network:
        places = [(network.hosts[1].namespace, "eth0"), (network.switch, "port1")]

        def rates():
            shown = (
                subprocess.run(
                    ["tc", "-n", namespace, "qdisc", "show", "dev", interface],
                    capture_output=True, text=True, check=True,
                ).stdout
                for namespace, interface in places
            )  # fmt: skip
            return ["rate 100Mbit" in text for text in shown]

        assert rates() == [True, True]
        network.limit(None)
        assert rates() == [False, False]
        network.limit("100mbit")
        network.limit("100mbit")
        assert rates() == [True, True]


@needs_hosts
def test_all_is_removed_after_an_error():
    with pytest.raises(KeyError), hosts.connected(3) as network:
        made = {host.namespace for host in network.hosts} | {network.switch}
        assert made <= namespaces()
        raise KeyError
    assert not made & namespaces()
    assert not any((hosts.SETTINGS / name).exists() for name in made)


@needs_hosts
def test_what_a_killed_run_left_is_removed_and_what_lives_is_not():
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale, other = f"jaxdist-{dead.pid}-0-1", f"not-ours-{os.getpid()}"
    with hosts.connected(1) as network:
        for name in (stale, other):
            subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            (hosts.SETTINGS / stale).mkdir(parents=True)
            assert stale in hosts.remove_stale()
            assert {other, network.hosts[0].namespace} <= namespaces() - {stale}
            assert stale not in namespaces()
        finally:
            subprocess.run(["ip", "netns", "delete", other], check=True)
    assert not pathlib.Path(hosts.SETTINGS / stale).exists()
