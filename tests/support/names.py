"""A name server on loopback, made of what a test says: records by name and kind, and which questions were asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from dns import flags, message, rcode, rdatatype, rrset

# What fits into one datagram; the rest is asked for again over TCP.
MOST_BYTES = 1232


@dataclass
class NameServer:
    """`records` as zone files write them, such as `{("shop.example.com", "A"): ["127.0.0.1"]}`; a list of lists is told in turn."""

    address: str = "127.0.0.1"
    port: int = 0
    records: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    is_silent: bool = False
    says: rcode.Rcode | None = None

    @property
    def place(self) -> str:
        return f"{self.address}:{self.port}"

    def publish(self, name: str, kind: str, *values: str) -> None:
        self.records[name, kind] = list(values)

    def publish_in_turn(self, name: str, kind: str, *turns: list[str]) -> None:
        """Another answer each time; the last stays."""
        self.records[name, kind] = list(turns)

    def answer(self, question: message.Message) -> message.Message:
        said = message.make_response(question)
        said.flags |= flags.AA
        name, kind = question.question[0].name, rdatatype.to_text(question.question[0].rdtype)
        written = name.to_text(omit_final_dot=True).lower()
        self.asked.append((written, kind))
        if self.says is not None:
            said.set_rcode(self.says)
        elif values := self._values(written, kind):
            said.answer.append(rrset.from_text_list(name, 60, "IN", kind, values))
        elif alias := self._values(written, "CNAME"):
            said.answer.append(rrset.from_text_list(name, 60, "IN", "CNAME", alias))
        elif not any(known == written for known, _ in self.records):
            said.set_rcode(rcode.NXDOMAIN)
        return said

    def _values(self, name: str, kind: str) -> list[str]:
        kept = self.records.get((name, kind), [])
        if kept and isinstance(kept[0], list):
            return cast(list[str], kept.pop(0) if len(kept) > 1 else kept[0])
        return cast(list[str], kept)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._server.is_silent:
            return
        said = self._server.answer(message.from_wire(data))
        wire = said.to_wire(max_size=65535)
        if len(wire) > MOST_BYTES:
            said.answer.clear()
            said.flags |= flags.TC
            wire = said.to_wire()
        self._transport.sendto(wire, addr)


@asynccontextmanager
async def name_server(address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[NameServer]:
    """Answers datagrams and, under the same number, connections."""
    server = NameServer(address)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        wire = server.answer(message.from_wire(await reader.readexactly(length))).to_wire(max_size=65535)
        writer.write(len(wire).to_bytes(2, "big") + wire)
        await writer.drain()
        writer.close()

    connections = await asyncio.start_server(converse, address, port)
    server.port = connections.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Datagrams(server), local_addr=(address, server.port))
    try:
        yield server
    finally:
        transport.close()
        connections.close()
        await connections.wait_closed()
