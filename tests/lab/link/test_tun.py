"""A delaying TUN device in a network namespace of its own. As root, as the device demands."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from netfsfuse.lab.link.namespace import missing
from netfsfuse.lab.link.reflector import turned
from tests.support.mounted import SOURCE_TREE

SENDING = """
import hashlib, json, os, random, socket, sys, time
from netfsfuse.lab.link.ceiling import echo_time, peer
from netfsfuse.lab.link.tun import DelayTun

data = random.Random(1).randbytes(20_000_000)
with DelayTun(0.03) as link:
    with peer("echo", link.server_address) as port:
        echo = echo_time((link.client_target, port))
    with socket.create_server((link.server_address, 0)) as listener:
        begin = time.monotonic()
        client = socket.create_connection((link.client_target, listener.getsockname()[1]))
        connect = time.monotonic() - begin
        server, address = listener.accept()
        if os.fork() == 0:
            server.sendall(data)
            os._exit(0)
        server.close()
        out = bytearray()
        while piece := client.recv(1 << 20):
            out += piece
        os.wait()
    print(json.dumps({
        "echo": echo, "connect": connect, "right": out == data, "client": address[0],
        "cpu": link.cpu_seconds(),
    }))
try:
    socket.create_connection((link.client_target, 9), timeout=0.5)
except OSError as error:
    print(error)
"""


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "netfsfuse.lab.link.namespace", "--", *command],
        env={**os.environ, "PYTHONPATH": SOURCE_TREE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.machine
def test_tcp_sees_the_round_trip_and_the_bytes_are_right():
    assert missing() is None
    result = in_namespace(sys.executable, "-c", SENDING)
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout.splitlines()[0])
    assert 0.03 <= seen["echo"] < 0.05
    assert 0.03 <= seen["connect"] < 0.1
    assert seen["right"]
    assert seen["client"] == "10.77.0.2"
    assert seen["cpu"] >= 0
    assert "unreachable" in result.stdout.splitlines()[1]  # the device went with the context


@pytest.mark.machine
def test_a_namespace_has_loopback_and_nothing_else():
    result = in_namespace("ip", "-o", "link", "show", "up")
    assert result.returncode == 0, result.stderr
    (line,) = result.stdout.splitlines()
    assert ": lo: <LOOPBACK,UP" in line


@pytest.mark.machine
def test_a_command_in_a_namespace_keeps_its_words_and_its_exit_code():
    result = in_namespace("sh", "-c", 'echo "$1"; exit 7', "sh", "two  words")
    assert result.stdout == "two  words\n"
    assert result.returncode == 7


def test_no_command_is_an_error():
    assert in_namespace().returncode == 1


@pytest.mark.parametrize("length", [30, 31, 65000])
def test_a_packet_is_turned_by_exchanging_its_addresses(length):
    packet = os.urandom(length)
    turned_packet = b"".join(turned(packet))
    assert turned_packet[:22] == packet[:22]
    assert turned_packet[22:26] == packet[26:30]
    assert turned_packet[26:30] == packet[22:26]
    assert turned_packet[30:] == packet[30:]
