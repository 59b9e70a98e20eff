"""The guard itself: a proxy between scanner and target that lets only permitted requests through and counts all of them.

Runs alone, by the interpreter of the scanners' environment (`python -I guard_proxy.py`), with the rules as first line of its
standard input. Decides nothing about findings and never opens a connection to an address that is not on its list."""

from __future__ import annotations

import asyncio
import base64
import functools
import importlib
import inspect
import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
import types
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

# Run alone, this program has no package around it.
sys.path.append(str(Path(__file__).parent))
handshakes: Any = importlib.import_module("guard_handshakes")
owners: Any = importlib.import_module("guard_owners")
paths: Any = importlib.import_module("guard_paths")

SIGNATURE = "apviso-scan"
COUNTERS_EVERY_SECONDS = 0.5
# A scanner keeps a few dozen requests open; more than this is one that no longer waits for answers.
MAX_WAITING = 256
MAX_REQUEST_BODY_BYTES = 1024 * 1024
MAX_LOG_BYTES = 50 * 1024 * 1024
# A check of every TLS version and cipher suite took 417 to 429 handshakes of the demo shop, and 594 connections of another server.
MAX_HANDSHAKES = 2_000
# Who opens a tunnel under this name wants to see the target's own TLS, and gets its handshake and nothing else.
HANDSHAKE_USER = b"handshake:"
# Frameworks let these stand for the method or the path, which would be another than the one that was judged.
OVERRIDES = (
    "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL",
)  # fmt: skip
# Says as whom a request is to be sent; never reaches the target.
IDENTITY_HEADER = "X-Apviso-Identity"
SHORTEST_CREDENTIAL = 6
HIDDEN = "(holds a credential)"
# Counted one by one beside their class: they tell that the target refused to be looked at.
TELLING_STATUSES = frozenset({401, 403, 429})
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

SENTENCES = {
    "host_not_allowed": "this address is not the target of the scan",
    "method_not_allowed": "this method is not permitted for the scan",
    "excluded_path": "this path is excluded from the scan",
    "budget_spent": "the request budget of the scan is spent",
    "permit_expired": "the runner has not renewed its permit",
    "upgrade_refused": "connections other than plain HTTP are not permitted",
    "body_too_large": "the request body is larger than the scan may send",
    "queue_full": "too many requests are waiting",
    "malformed": "this request cannot be understood for certain",
    "stranger": "this process does not belong to the user who runs the scan",
    "not_a_handshake": "this tunnel carries TLS handshakes only",
    "unknown_identity": "the target has no identity of this name",
}


class Refused(Exception):
    """A request that must not reach the target; `reason` is a key of SENTENCES."""

    def __init__(self, reason: str) -> None:
        super().__init__(SENTENCES[reason])
        self.reason = reason


def fails_closed(hook: Any) -> Any:
    """The proxy goes on with a flow whose hook raised, as if nothing had been said; here nothing said means no."""

    @functools.wraps(hook)
    async def guarded(gate: Any, subject: Any) -> None:
        try:
            done = hook(gate, subject)
            if inspect.isawaitable(done):
                await done
        except Exception:  # noqa: BLE001 - whatever it was, it was not a yes
            gate.shut(subject)

    return guarded


def boot_time() -> float:
    """Seconds that also pass while the machine sleeps, so that a suspended host cannot stretch a permit."""
    return time.clock_gettime(_CLOCK)


def normal_host(host: str) -> str:
    bare = host.strip("[]").lower().removesuffix(".")
    try:
        return str(ip_address(bare))
    except ValueError:
        pass
    try:
        return bare.encode("idna").decode("ascii")
    except UnicodeError:
        return bare


def loggable(path: str) -> str:
    """A path with the names of its parameters and none of their values."""
    bare, _, query = path.partition("?")
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True, max_num_fields=None)][:50]
    return (bare + ("?" + "&".join(f"{name}=" for name in names) if names else ""))[:2000]


def credential_words(*credentials: dict[str, str]) -> set[str]:
    """What of these headers could stand in an address by itself: the longer words of their values, without names and schemes."""
    words = (word for headers in credentials for value in headers.values() for word in re.split(r"[;,\s]+", value))
    bare = {(word.partition("=")[2] or word).strip("\"'=") for word in words if word.lower() not in ("bearer", "digest")}
    return {word for word in bare if len(word) >= SHORTEST_CREDENTIAL}


def number_of(text: str) -> int | None:
    """A number in plain digits, as ports and lengths are; other scripts have digits, too, and some digits are endless."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else None


class Rules:
    """What may pass. `permit_until` is on the clock of `boot_time`."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.scan_id = str(told["scanId"])
        self.allowed = {(h["scheme"], normal_host(h["host"]), int(h["port"])) for h in told["allowed"]}
        self.methods = frozenset(str(method).upper() for method in told["methods"])
        self.interval = 1.0 / float(told["requestsPerSecond"])
        self.max_requests = int(told["maxRequests"])
        self.excluded = [re.compile(pattern, re.IGNORECASE) for pattern in told["excludePaths"]]
        self.headers: dict[str, str] = dict(told["headers"])
        self.identities: dict[str, dict[str, str]] = {**told.get("identities", {}), "anonymous": {}}
        self.request_log: str | None = told.get("requestLog")
        self.addresses: dict[str, list[str]] = {
            normal_host(h["host"]): [str(address) for address in h.get("addresses") or ()] for h in told["allowed"]
        }
        self.permit_until = 0.0

    def check_address(self, scheme: str, host: str, port: int) -> None:
        if (scheme, normal_host(host), port) not in self.allowed:
            raise Refused("host_not_allowed")

    def check_tunnel(self, host: str, port: int) -> None:
        """A tunnel carries either scheme; each request inside is checked again with its own."""
        if not any((scheme, normal_host(host), port) in self.allowed for scheme in ("http", "https")):
            raise Refused("host_not_allowed")

    def check_request(self, method: str, path: str) -> None:
        if method.upper() not in self.methods:
            raise Refused("method_not_allowed")
        try:
            spellings = paths.spellings(path)
        except ValueError as error:
            raise Refused("malformed") from error
        if any(pattern.search(text) for pattern in self.excluded for text in spellings):
            raise Refused("excluded_path")

    def check_identity(self, name: str | None) -> None:
        if name is not None and name not in self.identities:
            raise Refused("unknown_identity")

    def credentials(self, name: str | None) -> tuple[set[str], dict[str, str]]:
        """For a known identity, or None for the default one: names of headers to take away, and headers to add.

        Who names an identity is to be seen as that one alone, so what any of them would send goes first."""
        if name is None:
            return set(), self.headers
        return {header for headers in self.identities.values() for header in headers}, self.identities[name]

    def check_permit(self) -> None:
        if boot_time() >= self.permit_until:
            raise Refused("permit_expired")


class Books:
    """Everything counted, and the request log. Bounded: a full log is closed, the counters go on."""

    def __init__(self, log_path: str | None, credentials: Iterable[str] = ()) -> None:
        self._credentials = tuple(credentials)
        self.requests = self.bytes = self.connect_errors = self.handshakes = 0
        self.refusals: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self._room = MAX_LOG_BYTES
        self._log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600) if log_path else None

    def as_line(self) -> str:
        return json.dumps(
            {
                "requests": self.requests,
                "refused": self.refusals.total(),
                "bytes": self.bytes,
                "refusals": dict(self.refusals),
                "answers": dict(self.answers),
                "connectErrors": self.connect_errors,
                "handshakes": self.handshakes,
            }
        )

    def refuse(self, method: str, path: str, reason: str) -> None:
        self.refusals[reason] += 1
        self.note(method, path, reason)

    def answer(self, method: str, path: str, status: int) -> None:
        # A target may send a number of any length, and the counters have to stay one line of bounded length.
        status = min(max(status, 0), 999)
        self.answers[f"{status // 100}xx"] += 1
        if status in TELLING_STATUSES:
            self.answers[str(status)] += 1
        self.note(method, path, str(status))

    def note(self, method: str, path: str, outcome: str) -> None:
        if self._log is None:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "method": method[:32], "path": self._loggable(path), "outcome": outcome}).encode() + b"\n"
        self._room -= len(line)
        if self._room < 0 or not _appended(self._log, line):
            # A log that cannot grow must not stop the scan: the counters still hold every request.
            os.close(self._log)
            self._log = None

    def _loggable(self, path: str) -> str:
        """A target may put a credential that it was sent into the very paths and names of its links."""
        written = loggable(path)
        return HIDDEN if any(word in text for word in self._credentials for text in (written, unquote(written))) else written


def _appended(descriptor: int, line: bytes) -> bool:
    try:
        return os.write(descriptor, line) == len(line)
    except OSError:
        return False


class Pace:
    """One request per interval over the whole scan; late ones wait their turn, and only so many."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._waiting = 0

    async def turn(self) -> None:
        if self._waiting >= MAX_WAITING:
            raise Refused("queue_full")
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._interval
        self._waiting += 1
        try:
            await asyncio.sleep(start - now)
        finally:
            self._waiting -= 1


class Gate:
    """The addon: mitmproxy calls it by the names of its hooks."""

    def __init__(self, rules: Rules, books: Books, make_response: Any, make_tcp_layer: Any) -> None:
        self.rules = rules
        self.books = books
        self._pace = Pace(rules.interval)
        self.open = asyncio.Event()
        self._make_response = make_response
        self._budget = rules.max_requests
        # By connection, while it lasts: a tunnel for handshakes, and how the proxy is told to look into it no further.
        self._tunnels: dict[str, Any] = {}
        self._make_tcp_layer = make_tcp_layer

    def running(self) -> None:
        """Called once the proxy's socket is bound."""
        self.open.set()

    def shut(self, subject: Any) -> None:
        """Let nothing more of a flow, connection or dial through that a hook could not judge."""
        self.books.refuse("UNKNOWN", "", "malformed")
        if hasattr(subject, "kill"):
            subject.metadata["refused"] = True
            subject.kill()
            return
        getattr(subject, "server", subject).error = SENTENCES["malformed"]

    @fails_closed
    def client_connected(self, client: Any) -> None:
        if not owners.is_own_user(client.peername[1], client.sockname[1]):
            self.books.refuse("CONNECTION", "", "stranger")
            client.error = SENTENCES["stranger"]

    def client_disconnected(self, client: Any) -> None:
        self._tunnels.pop(client.id, None)

    @fails_closed
    async def http_connect(self, flow: Any) -> None:
        request = flow.request
        try:
            self.rules.check_tunnel(request.host, request.port)
            self.rules.check_permit()
            if wants_handshake(request.headers.get("proxy-authorization", "")):
                self.rules.check_address("https", request.host, request.port)
                await self._admit_handshake()
                self._tunnels[flow.client_conn.id] = handshakes.Tunnel()
        except Refused as refusal:
            self._refuse(flow, "", refusal)

    async def _admit_handshake(self) -> None:
        if self.books.handshakes >= MAX_HANDSHAKES:
            raise Refused("budget_spent")
        self.books.handshakes += 1
        await self._pace.turn()
        self.rules.check_permit()

    def next_layer(self, nextlayer: Any) -> None:
        """Keep the proxy's own hands off a tunnel for handshakes; everything else it decrypts and shows us."""
        if nextlayer.context.client.id in self._tunnels and nextlayer.layer is None:
            nextlayer.layer = self._make_tcp_layer(nextlayer.context)

    @fails_closed
    def requestheaders(self, flow: Any) -> None:
        """Bodies are held in memory, so one of unknown or unreasonable length ends here."""
        headers = flow.request.headers
        length = number_of(headers.get("content-length", "0"))
        if "transfer-encoding" in headers or length is None or length > MAX_REQUEST_BODY_BYTES:
            self.books.refuse(flow.request.method, flow.request.path, "body_too_large")
            flow.metadata["refused"] = True
            flow.kill()

    @fails_closed
    async def request(self, flow: Any) -> None:
        request = flow.request
        try:
            self._check(request)
            await self._admit()
        except Refused as refusal:
            self._refuse(flow, request.path, refusal)
            return
        self.books.requests += 1
        flow.metadata["admitted"] = True
        unwanted, credentials = self.rules.credentials(request.headers.get(IDENTITY_HEADER))
        for name in (*OVERRIDES, *unwanted, IDENTITY_HEADER):
            request.headers.pop(name, None)
        for name, value in credentials.items():
            request.headers[name] = value
        request.headers["User-Agent"] = f"{request.headers.get('User-Agent', '')} {SIGNATURE}".strip()
        request.headers["X-Scan-Id"] = self.rules.scan_id

    def _check(self, request: Any) -> None:
        self.rules.check_address(request.scheme, request.host, request.port)
        # The same server may hold other sites under other names: the name asked for must be the target's too.
        self.rules.check_address(request.scheme, *_named(request))
        if "upgrade" in request.headers:
            raise Refused("upgrade_refused")
        self.rules.check_request(request.method, request.path)
        self.rules.check_identity(request.headers.get(IDENTITY_HEADER))
        self.rules.check_permit()

    async def _admit(self) -> None:
        if self._budget <= 0:
            raise Refused("budget_spent")
        # Taken before the wait, so that those who wait together cannot overdraw it.
        self._budget -= 1
        try:
            await self._pace.turn()
            self.rules.check_permit()
        except BaseException:
            self._budget += 1
            raise

    @fails_closed
    def responseheaders(self, flow: Any) -> None:
        if flow.metadata.get("refused"):
            return  # our own answer
        if not flow.metadata.get("admitted"):
            self.shut(flow)
            return
        self.books.answer(flow.request.method, flow.request.path, flow.response.status_code)
        flow.metadata["answered"] = True
        # Passed on piece by piece: an endless answer costs the guard no memory.
        flow.response.stream = self._count_bytes

    def _count_bytes(self, data: bytes) -> bytes:
        self.books.bytes += len(data)
        return data

    def error(self, flow: Any) -> None:
        if flow.metadata.get("admitted") and not flow.metadata.get("answered"):
            self.books.connect_errors += 1
            self.books.note(flow.request.method, flow.request.path, "no_answer")
            # An error page of the proxy would look like one of the target's.
            if flow.killable:
                flow.kill()

    @fails_closed
    def server_connect(self, data: Any) -> None:
        """The last door: whatever the layers above let slip, no other address is ever dialed."""
        host, port = data.server.address[0], data.server.address[1]
        try:
            self.rules.check_tunnel(host, port)
            self.rules.check_permit()
        except Refused as refusal:
            data.server.error = str(refusal)
        data.server.sni = host

    def tcp_start(self, flow: Any) -> None:
        if flow.client_conn.id not in self._tunnels:
            self.books.refuse("TCP", "", "upgrade_refused")
            flow.kill()

    def tcp_message(self, flow: Any) -> None:
        """Each piece of a tunnel, before it goes on. After the first that may not, none does: the proxy cannot close it from here."""
        message = flow.messages[-1]
        flow.messages.clear()
        tunnel = self._tunnels.get(flow.client_conn.id)
        try:
            if tunnel is None:
                message.content = b""
                return
            self.rules.check_permit()
            if message.from_client:
                message.content = tunnel.send(message.content)
            else:
                tunnel.receive(message.content)
        except Exception as error:  # noqa: BLE001 - what cannot be judged does not pass
            message.content = b""
            self._tunnels[flow.client_conn.id] = None
            self.books.refuse("TCP", "", error.reason if isinstance(error, Refused) else "not_a_handshake")

    def _refuse(self, flow: Any, path: str, refusal: Refused) -> None:
        self.books.refuse(flow.request.method, path, refusal.reason)
        flow.metadata["refused"] = True
        body = f"Refused by the scan's guard: {refusal.reason}: {refusal}.\n"
        flow.response = self._make_response(403, body, {"Content-Type": "text/plain; charset=utf-8", "X-Guard-Refusal": refusal.reason})


def wants_handshake(authorization: str) -> bool:
    """Whether a tunnel is asked for under the name that wants the target's own TLS."""
    scheme, _, told = authorization.partition(" ")
    try:
        return scheme.lower() == "basic" and base64.b64decode(told, validate=True).startswith(HANDSHAKE_USER)
    except ValueError:
        return False


def _named(request: Any) -> tuple[str, int]:
    """Host and port as the Host header names them; those of the address where there is none."""
    header = request.host_header
    if not header:
        return request.host, request.port
    host, colon, port = header.rpartition(":")
    if colon and not host.endswith(":") and not port.endswith("]"):
        number = number_of(port)
        if number is None:
            raise Refused("malformed")
        return host, number
    return header, 443 if request.scheme == "https" else 80


class Voice:
    """Standard output, shared by the event loop and the listening thread."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        with self._lock:
            try:
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
            except OSError:
                os._exit(0)  # Nobody listens any more, so nobody answers for this scan.

    def leave(self) -> None:
        """End at once, with the last counters; open connections fall with the process."""
        self.say(self._books.as_line())
        os._exit(0)


def resolve_nothing_new(loop: asyncio.AbstractEventLoop, rules: Rules) -> None:
    """Dial the addresses that the runner has judged: a name may lead elsewhere by the time it is asked again."""

    async def known(host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
        addresses = rules.addresses.get(normal_host(str(host)), [])
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "the guard resolves no names")
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ip, port)) for kind, ip in zip(families, addresses, strict=True)]

    setattr(loop, "getaddrinfo", known)  # noqa: B010 - the loop's own method, for this process alone


def listen(rules: Rules, voice: Voice) -> None:
    """Follow standard input: permits move the deadline, its end is the end."""
    for line in sys.stdin:
        try:
            rules.permit_until = boot_time() + float(json.loads(line)["permitSeconds"])
        except (ValueError, KeyError, TypeError):
            break
    voice.leave()


def load_few_addons() -> None:
    """The proxy's package of addons loads all forty of them and what they stand on, which takes as long as all else in a guard's start.

    Below an empty package of that name each is loaded alone."""
    import mitmproxy

    package = types.ModuleType("mitmproxy.addons")
    package.__path__ = [str(Path(folder) / "addons") for folder in mitmproxy.__path__]
    sys.modules[package.__name__] = package


def make_master(confdir: str, gate: Gate) -> Any:
    load_few_addons()
    from mitmproxy import master, options
    from mitmproxy.addons import core, next_layer, proxyserver, tlsconfig

    # A certificate of an internal application is rarely one that this machine trusts; what it is worth is not the guard's to judge.
    opts = options.Options(confdir=confdir, listen_host="127.0.0.1", listen_port=0, ssl_insecure=True, upstream_cert=False)
    made = master.Master(opts, asyncio.get_running_loop())
    # The gate before the proxy's own choice of layers, so that its choice counts.
    made.addons.add(core.Core(), proxyserver.Proxyserver(), gate, next_layer.NextLayer(), tlsconfig.TlsConfig())
    opts.update(
        # Connect only when a request was let through, and speak nothing but HTTP/1.
        connection_strategy="lazy", http2=False, websocket=False, rawtcp=False, tls_version_server_min="UNBOUNDED",
    )  # fmt: skip
    return made


async def announce(master: Any, gate: Gate, voice: Voice) -> None:
    await gate.open.wait()
    voice.say(json.dumps({"listening": master.addons.get("proxyserver").listen_addrs()[0][1]}))
    while True:
        await asyncio.sleep(COUNTERS_EVERY_SECONDS)
        voice.say(gate.books.as_line())


async def serve(rules: Rules, confdir: str) -> None:
    from mitmproxy import http
    from mitmproxy.proxy.layers import TCPLayer

    books = Books(rules.request_log, credential_words(rules.headers, *rules.identities.values()))
    voice = Voice(books)
    gate = Gate(rules, books, http.Response.make, TCPLayer)
    resolve_nothing_new(asyncio.get_running_loop(), rules)
    master = make_master(confdir, gate)
    threading.Thread(target=listen, args=(rules, voice), daemon=True).start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(announce(master, gate, voice))
        tasks.create_task(master.run())


def main() -> None:
    os.umask(0o077)
    rules = Rules(json.loads(sys.stdin.readline()))
    confdir = tempfile.mkdtemp(prefix="guard-", dir=".")
    asyncio.run(serve(rules, confdir))


if __name__ == "__main__":
    main()
