"""What a hostile scan image does in place of a scan: the path of the target names the deed. Runs inside a container, never in the tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

ORDER: dict[str, Any] = {}
MILLION = 1_000_000


def write(line: str) -> None:
    sys.stdout.write(line + "\n")


def say(**fields: object) -> None:
    write(json.dumps(fields))
    sys.stdout.flush()


def covered(*, complete: bool = True) -> None:
    say(type="coverage", complete=complete, pages=12, reasons=[])


def dial() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(ORDER["proxySocket"])
    return connection


def look() -> str:
    """One honest request to the target, through the guard."""
    url = ORDER["target"]["scanUrl"]
    with dial() as connection:
        connection.sendall(f"GET {url} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.decode(errors="replace")


def honest() -> None:
    """Looks for some seconds, as a scan does; the others must not keep it from its end."""
    say(type="phase", name="looking")
    for number in range(12):
        look()
        say(type="progress", percent=8 * number, requests=number)
        time.sleep(0.5)
    covered()


def garbage() -> None:
    for _ in range(200):
        sys.stdout.buffer.write(os.urandom(16_384))
    sys.stdout.buffer.write(b'\n{"type": "nonsense"}\n[]\nnull\n{"type":"log"\n')


def endless_log() -> None:
    """A gigabyte, if it is let."""
    line = json.dumps({"type": "log", "message": "x" * 15_000})
    for _ in range(1_000 * MILLION // len(line)):
        write(line)


def tiny_lines() -> None:
    while True:
        sys.stdout.buffer.write(b"{\n" * 32_768)


def tiny_logs() -> None:
    for number in range(40_000):
        write(f'{{"type":"log","message":"{number}"}}')
    look()
    covered()


def long_lines() -> None:
    for _ in range(3):
        sys.stdout.write('{"type":"finding","finding":{"title":"' + "x" * 10 * MILLION + '"}}\n')
    look()
    covered()


def broken_text() -> None:
    sys.stdout.buffer.write(b'{"type":"log","message":"\xff\xfe\xc3\x28"}\n{"type":"phase","name":"\\ud800"}\n\xed\xa0\x80\n')
    sys.stdout.buffer.write(b'{"type":"log","message":"nul \\u0000"}\n')
    look()
    covered()


def escapes() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\r\n\x9b31m\u202egnp.exe"
    say(type="log", level="error", message=evil)
    say(type="phase", name=evil)
    say(type="finding", finding={"title": evil, "severity": "low", "parameter": evil, "evidence": evil, "url": f"http://127.0.0.1/{evil}"})
    sys.stderr.write(evil)
    look()
    covered()


def forged() -> None:
    """Claims to be other jobs, scans, attempts and numbers, in every field that it can think of."""
    numbers = {"attempt": 99, "seq": 9_999, "ackedSeq": 5, "at": "1999-01-01T00:00:00Z"}
    others = {"jobId": "JOB", "scanId": "SCAN", "runnerId": "RUNNER", **numbers}
    say(type="log", message="forged", **others)
    say(type="finish", status="completed", endReason="completed", lastSeq=1, **others)
    finding = {"title": "Forged", "severity": "info", "id": "1", "fingerprint": "f", "userStatus": "fixed", **others}
    say(type="finding", finding=finding, **others)
    say(type="progress", percent=50, requests=7, **others)
    look()
    covered()


def fork_bomb() -> None:
    """Every child makes more, all are deaf; the first of them ends as if nothing were."""
    begun = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    first = os.getpid()
    while time.monotonic() < begun + 3:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)
    if os.getpid() != first:
        signal.pause()
    covered()


def memory_bomb() -> None:
    kept = []
    while True:
        kept.append(b"x" * (64 * 1024 * 1024))


def never_ends() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(9999)"])
    look()
    say(type="log", message="waiting")
    while True:
        time.sleep(1)


def nothing() -> None:
    """Ends well, silently."""


def liar() -> None:
    """Says that it saw everything, and asked for nothing."""
    covered()


def full_disk() -> None:
    with open(os.path.join(ORDER["workDir"], "filler"), "wb") as file:
        while True:
            file.write(bytes(16 * MILLION))


def many_sockets() -> None:
    kept: list[socket.socket] = []
    for _ in range(20_000):
        try:
            if len(kept) > 3_000:
                kept.pop(0).close()
            kept.append(dial())
        except OSError:
            kept.clear()
    covered()


def endless_errors() -> None:
    while True:
        sys.stderr.write("something is wrong " * 60 + "\n")


def many_findings() -> None:
    for number in range(100_000):
        finding = {"title": f"Flaw {number}", "severity": "high", "url": f"http://127.0.0.1/{number}"}
        write(json.dumps({"type": "finding", "finding": finding}))
    look()
    covered()


def main() -> None:
    ORDER.update(json.loads(sys.stdin.readline()))
    deed = urlsplit(ORDER["target"]["scanUrl"]).path.strip("/")
    globals()[deed]()


main()
