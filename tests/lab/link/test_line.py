"""Both stores of a delay line: what went in comes out."""

from __future__ import annotations

import contextlib
import os
import random
import socket

import pytest

from netfsfuse.lab.link.line import MemoryStore, PipeStore


@pytest.fixture
def ends():
    """(sender, source) and (sink, receiver): what a relay has on its two sides."""
    pairs = [_connection(), _connection()]
    yield pairs
    for sock in (*pairs[0], *pairs[1]):
        sock.close()


def _connection() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.setblocking(False)
    server.setblocking(False)
    return client, server


@pytest.mark.parametrize("make", [PipeStore, MemoryStore])
def test_bytes_come_out_in_order_whatever_the_sizes(ends, make):
    (sender, source), (sink, receiver) = ends
    draw = random.Random(7)
    data = draw.randbytes(8 << 20)
    sent = held = 0
    out = bytearray()
    store = make()
    try:
        while len(out) < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += sender.send(data[sent : sent + draw.choice((1, 1500, 300_000))])
            with contextlib.suppress(BlockingIOError):
                held += store.take(source, draw.choice((1, 700, 1 << 20)))
            if sent < len(data) and draw.random() < 0.5:
                continue  # let some gather
            with contextlib.suppress(BlockingIOError):
                held -= store.give(sink, draw.choice((1, 4096, 1 << 20)))
            with contextlib.suppress(BlockingIOError):
                out += receiver.recv(1 << 20)
        assert held == 0
        assert bytes(out) == data
    finally:
        store.close()


@pytest.mark.parametrize("make", [PipeStore, MemoryStore])
def test_the_end_of_the_source_is_zero_bytes(ends, make):
    (sender, source), _ = ends
    store = make()
    try:
        with pytest.raises(BlockingIOError):
            store.take(source, 1000)
        sender.send(b"last")
        sender.close()
        source.setblocking(True)
        assert store.take(source, 1000) == 4
        assert store.take(source, 1000) == 0
    finally:
        store.close()


def test_closing_a_store_of_pipes_closes_them_all(ends):
    (sender, source), _ = ends
    before = set(os.listdir("/proc/self/fd"))
    store = PipeStore()
    for _ in range(600):  # more pieces than one pipe has slots
        sender.send(b"x")
        source.setblocking(True)
        store.take(source, 1)
        source.setblocking(False)
    assert len(os.listdir("/proc/self/fd")) >= len(before) + 4
    store.close()
    store.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)
