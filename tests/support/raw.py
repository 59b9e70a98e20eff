"""Bytes on a socket, as no honest client would write or send them."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

Address = tuple[str, int]
SECONDS = 20.0
PAUSE_SECONDS = 0.1
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True)
class Heard:
    """All that came until the server closed the connection."""

    content: bytes

    @property
    def statuses(self) -> list[int]:
        """Of each answer; no body in these tests holds the beginning of another one."""
        return [int(status) for status in _STATUS.findall(self.content)]


def say(address: Address, *parts: bytes) -> Heard:
    """Send part after part, each once something has come for the one before, and listen until the server closes."""
    heard = b""
    with socket.create_connection(address, SECONDS) as wire, contextlib.suppress(ConnectionError):
        for number, part in enumerate(parts):
            if number > 0:
                heard += wire.recv(65536)
            wire.sendall(part)
        while piece := wire.recv(65536):
            heard += piece
    return Heard(heard)


def outlast(address: Address, sayings: Mapping[str, tuple[bytes, bytes]]) -> dict[str, Heard]:
    """A connection for each saying, which is its beginning and what is then said again and again; what each heard until it was closed."""
    wires = {socket.create_connection(address, SECONDS): name for name in sayings}
    heard, deadline = dict.fromkeys(sayings, b""), time.monotonic() + SECONDS
    for wire, name in wires.items():
        wire.sendall(sayings[name][0])
    while wires:
        assert time.monotonic() < deadline, f"still open: {sorted(wires.values())}"
        for wire in select.select(list(wires), [], [], PAUSE_SECONDS)[0]:
            piece = b""
            with contextlib.suppress(ConnectionError):
                piece = wire.recv(65536)
            heard[wires[wire]] += piece
            if not piece:
                del wires[wire]
                wire.close()
        for wire, name in wires.items():
            with contextlib.suppress(ConnectionError):
                wire.sendall(sayings[name][1])
    return {name: Heard(content) for name, content in heard.items()}


def is_open(wire: socket.socket) -> bool:
    """Whether the server has not closed the connection so far."""
    wire.setblocking(False)
    try:
        while wire.recv(65536):
            pass
    except BlockingIOError:
        return True
    return False


def is_cut_off(address: Address, opening: bytes) -> bool:
    """Whether who says `opening` and takes nothing of the answers is cut off in the end."""
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(SECONDS)
        wire.connect(address)
        wire.sendall(opening)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            try:
                wire.sendall(b"\r\n")
            except ConnectionError:
                return True
    return False
