from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from apviso.scanning import guard_proxy
from apviso.scanning.guard import AllowedHost, Guard, GuardFailed, Refusal, start_guard
from apviso.scanning.guard_owners import is_own_user, is_owned, owner_of
from tests.scanning.certificates import self_signed
from tests.scanning.conftest import SECRET, StartGuard, Target, eventually, get, rules_of, send, serve, until


async def test_permitted_request_reaches_the_target_signed_and_with_its_credentials(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, f"{target.url}/page?q=1", headers="User-Agent: Scanner/1\r\nauthorization: Basic of-the-scanner\r\n")

    assert reply.status == 200
    assert [(seen.method, seen.path) for seen in target.seen] == [("GET", "/page?q=1")]
    headers = {name.lower(): value for name, value in target.seen[0].headers.items()}
    assert headers["authorization"] == SECRET
    assert headers["user-agent"] == "Scanner/1 apviso-scan"
    assert headers["x-scan-id"] == "scan-1"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://127.0.0.2:{port}/",
        "http://localhost:{port}/",
        "http://127.0.0.1.evil.example:{port}/",
        "http://127.0.0.1/",
        "http://127.0.0.1:{port}0/",
        "https://127.0.0.1:{port}/",
        "http://2130706433:{port}/",
    ],
)
async def test_request_to_another_address_is_refused(url: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, url.format(port=target.port))
    counters = await guard.close()

    assert reply.status != 200
    assert target.connections == 0
    assert counters.requests == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}@127.0.0.2:{port}/", "http://127.0.0.2:{port}@127.0.0.1:{port}/"])
async def test_request_with_a_user_name_in_its_address_is_refused(url: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, url.format(port=target.port), host=f"127.0.0.1:{target.port}")

    assert reply.status in (400, 403)
    assert target.connections == 0


async def test_refusal_names_its_reason_to_the_scanner_and_is_counted(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, "http://127.0.0.1:1/")
    counters = await guard.close()

    assert reply.status == 403
    assert "host_not_allowed: this address is not the target of the scan" in reply.text
    assert counters.refusals == {Refusal.HOST_NOT_ALLOWED: 1}
    assert counters.refused == 1


async def test_request_that_names_another_site_of_the_same_server_is_refused(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, f"{target.url}/", host="internal.example")

    assert reply.status == 403
    assert target.connections == 0


async def test_tunnel_to_another_address_is_refused(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await send(guard, "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n")
    counters = await guard.close()

    assert reply.status == 403
    assert counters.refusals == {Refusal.HOST_NOT_ALLOWED: 1}


async def test_tunnel_that_carries_something_else_than_http_reaches_nobody(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))
    address = f"127.0.0.1:{target.port}"

    await send(guard, f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode() + b"\x00\x01\x02 raw bytes\r\n\r\n")

    assert target.connections == 0


async def test_request_inside_a_tunnel_is_judged_like_any_other(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))
    address = f"127.0.0.1:{target.port}"
    tunnel = f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n"

    reply = await send(guard, f"{tunnel}GET /logout HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
    counters = await guard.close()

    assert "excluded_path" in reply.text
    assert target.connections == 0
    assert counters.refusals == {Refusal.EXCLUDED_PATH: 1}


async def test_request_over_tls_reaches_a_target_with_a_private_certificate(tmp_path: Path, guarded: StartGuard) -> None:
    target = Target()
    server = serve(target, self_signed(tmp_path))
    rules = rules_of(target, allowed=[AllowedHost(scheme="https", host="127.0.0.1", port=target.port)])
    guard = await guarded(rules)

    status = await asyncio.to_thread(_get_over_tls, guard.proxy_url, target.port)
    server.shutdown()
    server.server_close()

    assert status == 200
    assert target.seen[0].headers["Authorization"] == SECRET


def _get_over_tls(proxy_url: str, port: int) -> int:
    import http.client

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", urlsplit(proxy_url).port, context=context, timeout=20)
    connection.set_tunnel("127.0.0.1", port)
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("method", ["POST", "DELETE", "TRACE"])
async def test_method_that_is_not_permitted_is_refused(method: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, f"{target.url}/", method=method)
    counters = await guard.close()

    assert reply.status == 403
    assert target.connections == 0
    assert counters.refusals == {Refusal.METHOD_NOT_ALLOWED: 1}


@pytest.mark.parametrize("path", ["/logout", "/a/LogOut.php", "/%6cogout", "/%256cogout", "/%2525256cogout", "/do?action=logout"])
async def test_excluded_path_is_refused_however_it_is_spelled(path: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, target.url + path)

    assert (reply.status, "excluded_path" in reply.text) == (403, True)
    assert target.connections == 0


@pytest.mark.parametrize(
    "path", ["/admin", "//admin/x", "/./admin", "/a/../admin?x=1", "/a/%2e%2e/admin", "/a/..%2fadmin", "/a\\..\\admin", "/a/../admin/"]
)
async def test_path_that_a_server_reads_as_an_excluded_one_is_refused(path: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target, exclude_paths=["^/admin"]))

    raw = f"GET {target.url}{path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nConnection: close\r\n\r\n"
    reply = await send(guard, raw)
    counters = await guard.close()

    assert (reply.status, counters.refusals, target.connections) == (403, {Refusal.EXCLUDED_PATH: 1}, 0)


async def test_path_that_only_looks_like_an_excluded_one_passes(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target, exclude_paths=["^/admin/"]))

    replies = [await get(guard, target.url + path) for path in ("/a/admin/", "/administration", "/?back=/../admin/")]

    assert [reply.status for reply in replies] == [200, 200, 200]


async def test_budget_that_is_spent_by_requests_at_once_is_never_overdrawn(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target, max_requests=5))

    replies = await asyncio.gather(*(get(guard, f"{target.url}/{n}") for n in range(20)))
    counters = await guard.close()

    assert sorted(reply.status for reply in replies) == [200] * 5 + [403] * 15
    assert len(target.seen) == 5
    assert (counters.requests, counters.refusals, counters.answers) == (5, {Refusal.BUDGET_SPENT: 15}, {"2xx": 5})


async def test_rate_delays_requests_and_refuses_none(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target, requests_per_second=20))

    replies = await asyncio.gather(*(get(guard, f"{target.url}/{n}") for n in range(11)))

    assert [reply.status for reply in replies] == [200] * 11
    arrivals = sorted(seen.at for seen in target.seen)
    assert arrivals[-1] - arrivals[0] >= 10 / 20 * 0.8


async def test_permit_that_ran_out_stops_traffic_until_it_is_renewed(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target), permit_seconds=0)

    before = await get(guard, f"{target.url}/before")
    await guard.permit(60)
    await eventually(lambda: _status_is(200, guard, f"{target.url}/after"))

    assert (before.status, "permit_expired" in before.text) == (403, True)
    assert {seen.path for seen in target.seen} == {"/after"}


async def test_permit_that_nobody_renews_runs_out_by_itself(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target), permit_seconds=1.5)

    first = await get(guard, f"{target.url}/")
    await eventually(lambda: _status_is(403, guard, f"{target.url}/"))
    counters = await guard.close()

    assert first.status == 200
    assert counters.refusals == {Refusal.PERMIT_EXPIRED: 1}


async def _status_is(status: int, guard: Guard, url: str) -> bool:
    return (await get(guard, url)).status == status


async def test_request_to_upgrade_the_connection_is_refused(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, f"{target.url}/", headers="Upgrade: websocket\r\n")

    assert (reply.status, "upgrade_refused" in reply.text) == (403, True)
    assert target.connections == 0


@pytest.mark.parametrize("framing", ["Content-Length: 2000000\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_request_body_without_reasonable_length_is_cut_off(framing: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target, methods=["POST"]))

    reply = await get(guard, f"{target.url}/", method="POST", headers=framing)
    counters = await guard.close()

    assert reply.status == 0
    assert target.connections == 0
    assert counters.refusals == {Refusal.BODY_TOO_LARGE: 1}


async def test_answer_of_many_megabytes_is_counted_and_not_kept_in_memory(target: Target, guarded: StartGuard) -> None:
    target.body = b"x" * 60_000_000
    guard = await guarded(rules_of(target))
    await get(guard, f"{target.url}/logout")
    before = psutil.Process(guard.pid).memory_info().rss

    reply = await get(guard, f"{target.url}/")
    grown = psutil.Process(guard.pid).memory_info().rss - before
    counters = await guard.close()

    assert reply.status == 200
    assert counters.bytes == 60_000_000
    assert grown < 30_000_000


async def test_target_that_does_not_answer_is_counted_and_told_by_silence(target: Target, guarded: StartGuard) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = Target(port=taken.getsockname()[1])
        guard = await guarded(rules_of(dead))

        reply = await get(guard, f"{dead.url}/")
        counters = await guard.close()

    assert reply.status == 0
    assert (counters.requests, counters.answers, counters.connect_errors) == (1, {}, 1)


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_status_that_refuses_a_look_is_counted_by_itself_too(status: int, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))
    target.status = status

    await get(guard, f"{target.url}/")
    counters = await guard.close()

    assert counters.answers == {"4xx": 1, str(status): 1}


async def test_statuses_of_any_length_leave_the_counters_readable(guarded: StartGuard) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d odd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % next(statuses))
        writer.close()

    statuses = iter([*(10**4_000 + 100 * number for number in range(20)), -1])
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        target = Target(server.sockets[0].getsockname()[1])
        guard = await guarded(rules_of(target))
        for _ in range(21):
            await get(guard, f"{target.url}/")
        counters = await guard.close()

    assert (counters.requests, counters.answers) == (21, {"9xx": 20, "0xx": 1})


async def test_counters_are_told_while_the_guard_runs(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    await get(guard, f"{target.url}/")
    await until(lambda: guard.counters.requests == 1, seconds=5)

    assert guard.counters.answers == {"2xx": 1}
    assert guard.counters.bytes == len(target.body)


async def test_request_log_holds_no_value_and_is_private(target: Target, guarded: StartGuard, tmp_path: Path) -> None:
    log = tmp_path / "requests.ndjson"
    guard = await guarded(rules_of(target, request_log=str(log)))

    await get(guard, f"{target.url}/page?token=hidden&x=1")
    await get(guard, f"{target.url}/logout")
    await guard.close()

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["path"], line["outcome"]) for line in lines] == [("/page?token=&x=", "200"), ("/logout", "excluded_path")]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


async def test_closed_guard_is_gone_and_cannot_be_permitted_again(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    await guard.close()

    assert not guard.alive
    assert not psutil.pid_exists(guard.pid)
    with pytest.raises(GuardFailed):
        await guard.permit(10)


async def test_guard_that_died_is_noticed(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    psutil.Process(guard.pid).kill()
    await until(lambda: not guard.alive)

    with pytest.raises(GuardFailed):
        await guard.permit(10)


async def test_header_that_stands_for_another_method_or_path_does_not_reach_the_target(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    reply = await get(guard, f"{target.url}/", headers="X-HTTP-Method-Override: DELETE\r\nx-original-url: /logout\r\n")

    assert reply.status == 200
    assert {name.lower() for name in target.seen[0].headers}.isdisjoint({"x-http-method-override", "x-original-url"})


@pytest.mark.parametrize("named", ["evil.example:\u00b2", "127.0.0.1:" + "9" * 5000, "127.0.0.1:-1", "127.0.0.1:0x50"])
async def test_request_whose_named_port_is_no_number_is_refused_and_counted(named: str, target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))
    request = f"DELETE {target.url}/logout HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n"

    reply = await send(guard, request.encode())
    counters = await guard.close()

    assert reply.status != 200
    assert target.seen == []
    assert counters.refused > 0


async def test_hook_that_fails_lets_nothing_through() -> None:
    class Flow:
        killed = False

        def __init__(self) -> None:
            self.metadata: dict[str, bool] = {}

        def kill(self) -> None:
            self.killed = True

    flow, books = Flow(), guard_proxy.Books(None)
    gate = guard_proxy.Gate(guard_proxy.Rules(_RULES), books, make_response=None, make_tcp_layer=None)

    await gate.request(flow)

    assert flow.killed
    assert books.refusals == {"malformed": 1}


_RULES = {
    "scanId": "scan-1",
    "allowed": [],
    "methods": ["GET"],
    "requestsPerSecond": 1,
    "maxRequests": 1,
    "excludePaths": [],
    "headers": {},
}


async def test_name_is_dialed_at_the_judged_addresses_and_never_looked_up(target: Target, guarded: StartGuard) -> None:
    named = AllowedHost(scheme="http", host="shop.invalid", port=target.port, addresses=("127.0.0.1",))
    unjudged = AllowedHost(scheme="http", host="localhost", port=target.port)
    guard = await guarded(rules_of(target).model_copy(update={"allowed": [named, unjudged]}))

    reached = await get(guard, f"http://shop.invalid:{target.port}/")
    refused = await get(guard, f"http://localhost:{target.port}/")

    assert reached.status == 200
    assert refused.status != 200
    assert [seen.headers["Host"] for seen in target.seen] == [f"shop.invalid:{target.port}"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_other_user_of_the_host_is_kept_out(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))

    heard = await _stranger(guard, target, from_port=0)
    counters = await guard.close()

    assert heard == b""
    assert target.connections == 0
    assert counters.refusals == {Refusal.STRANGER: 1}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
async def test_other_user_is_kept_out_although_the_port_was_ours_a_moment_ago(target: Target, guarded: StartGuard) -> None:
    guard = await guarded(rules_of(target))
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(("127.0.0.1", 0))
        ours.connect(elsewhere.getsockname())
        port = ours.getsockname()[1]
        accepted, _ = elsewhere.accept()
        # Whoever closes first leaves its end behind for a minute, and the kernel shows that as root's.
        ours.close()
        accepted.close()

    heard = await _stranger(guard, target, from_port=port)
    counters = await guard.close()

    assert heard == b""
    assert counters.refusals == {Refusal.STRANGER: 1}


@pytest.mark.parametrize(
    ("user", "inode", "remote", "is_ours"),
    [(0, 1547, "1F90", True), (65534, 1547, "1F90", False), (0, 0, "1F90", False), (0, 1547, "1F91", False)],
    ids=["held by us", "held by another", "held by nobody", "a connection to somewhere else"],
)
def test_connection_is_ours_when_a_process_of_ours_holds_it(user: int, inode: int, remote: str, is_ours: bool) -> None:
    line = f"1: 0100007F:AB93 0100007F:{remote} 01 00000000:00000000 00:00000000 00000000 {user} 0 {inode} 3 0000 20 4 30 10 -1\n"

    assert is_owned([line], 0xAB93, 0x1F90, 0) is is_ours


def test_kernel_that_is_asked_for_one_connection_says_what_its_table_says() -> None:
    def told() -> tuple[tuple[int, int] | None, bool]:
        table = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return owner_of(*ports), is_owned(table, *ports, os.getuid())

    with socket.create_server(("127.0.0.1", 0)) as guard:
        with socket.create_connection(guard.getsockname()) as client:
            accepted, (_, port) = guard.accept()
            ports = port, guard.getsockname()[1]
            held, inode = told(), os.fstat(client.fileno()).st_ino
            who_listens = owner_of(ports[1], 1)
        accepted.close()
        left, is_ours = told(), is_own_user(*ports)

    assert held == ((os.getuid(), inode), True)
    assert left == ((0, 0), False)
    assert not is_ours
    assert who_listens is None


async def _stranger(guard: Guard, target: Target, from_port: int) -> bytes:
    """What another user of the host hears who asks the guard for the target."""
    request = f"GET {target.url}/ HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nConnection: close\r\n\r\n"
    port = str(urlsplit(guard.proxy_url).port)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STRANGER, port, request, str(from_port), stdout=asyncio.subprocess.PIPE
    )
    heard, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return heard


_STRANGER = """
import encodings.idna, os, socket, sys
os.setuid(65534)
with socket.socket() as connection:
    connection.settimeout(20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind(("127.0.0.1", int(sys.argv[3])))
    connection.connect(("127.0.0.1", int(sys.argv[1])))
    try:
        connection.sendall(sys.argv[2].encode())
        sys.stdout.buffer.write(connection.recv(4096))
    except ConnectionError:
        pass
"""


async def test_guard_ends_with_whoever_started_it(target: Target, scanners_dir: Path, tmp_path: Path) -> None:
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STARTER, rules_of(target).model_dump_json(), str(scanners_dir), str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    pid = int(await asyncio.wait_for(starter.stdout.readline(), 60))

    starter.kill()
    await starter.wait()

    await until(lambda: not psutil.pid_exists(pid))


_STARTER = """
import asyncio, sys
from pathlib import Path
from apviso.scanning.guard import GuardRules, start_guard

async def main():
    guard = await start_guard(GuardRules.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), 60)
    print(guard.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_start_without_a_scanners_environment_fails_with_a_reason(target: Target, tmp_path: Path) -> None:
    with pytest.raises(GuardFailed, match="cannot be started"):
        await start_guard(rules_of(target), tmp_path / "nowhere", tmp_path, 10)


async def test_start_with_an_interpreter_that_lacks_the_proxy_fails_with_a_reason(target: Target, tmp_path: Path) -> None:
    with pytest.raises(GuardFailed, match="mitmproxy"):
        await start_guard(rules_of(target), Path(sys.prefix), tmp_path, 10)
