"""A fake engine program: speaks the public contract of a scan (order in, NDJSON out, exit code).

It looks at the target through the proxy of its order, like any scan, and then does what the first part of the target's domain says.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError, URLError

Order = dict[str, Any]


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def watch_starter() -> None:
    while sys.stdin.buffer.readline(4096):
        pass
    os.killpg(0, signal.SIGKILL)


def fetch(order: Order, path: str, method: str = "GET", **headers: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": order["proxyUrl"], "https": order["proxyUrl"]}))
    try:
        asked = urllib.request.Request(order["target"]["scanUrl"].rstrip("/") + path, headers=headers, method=method)
        with opener.open(asked, timeout=10) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return str(error.code)
    except URLError:
        return ""


def linger(order: Order) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    say(type="log", message=f"pids {os.getpid()} {child.pid}")
    time.sleep(300)


def be_stubborn(order: Order) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    linger(order)


def go_slowly(order: Order) -> None:
    say(type="log", message=f"pids {os.getpid()} {os.getpid()}")
    for number in range(2000):
        say(type="log", message=f"line {number}")
        time.sleep(0.02)


def repeat_the_page(order: Order) -> None:
    say(type="log", message="the page says " + fetch(order, "/echo"))
    say(type="finding", finding={"title": "Echo", "severity": "low", "evidence": fetch(order, "/echo"), "url": "http://x/"})
    sys.stderr.write("also here: " + fetch(order, "/echo") + "\n")
    sys.stdout.write("and in no JSON: " + fetch(order, "/echo") + "\n")


def take_turns(order: Order) -> None:
    say(type="log", message="identities " + " ".join(order["identities"]))
    for name in (*order["identities"], "anonymous", "stranger"):
        say(type="log", message=f"as {name}: " + fetch(order, "/echo", **{"X-Apviso-Identity": name}))


def babble(order: Order) -> None:
    for number in range(30):
        sys.stdout.write(f"not json {number}\n")
    sys.stdout.write("x" * 100_000 + "\n")
    sys.stderr.write("a complaint on standard error\n")


def find(order: Order) -> None:
    for number in range(600):
        say(type="log", message=f"looked at {number}")
    say(type="finding", finding={"title": "Reflected script", "severity": "high", "url": "http://x/", "parameter": "q"})


def flood(order: Order) -> None:
    chunk = "y" * 1023 + "\n"
    while True:
        sys.stdout.write(chunk * 1024)


BEHAVIORS: dict[str, Callable[[Order], object]] = {
    "lingers": linger,
    "stubborn": be_stubborn,
    "slow": go_slowly,
    "brief": lambda order: time.sleep(1.5),
    "echoes": repeat_the_page,
    "babbles": babble,
    "turns": take_turns,
    "recites": lambda order: say(type="log", message=json.dumps(order)),
    "crashes": lambda order: os._exit(7),
    "dies": lambda order: os.kill(os.getpid(), signal.SIGKILL),
    "finds": find,
    "posts": lambda order: say(type="log", message="answer " + fetch(order, "/form", "POST")),
    "floods": flood,
    "shows": lambda order: say(type="log", message=json.dumps(dict(os.environ))),
}


def main() -> int:
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=watch_starter, daemon=True).start()
    say(type="phase", name="crawling")
    for number in range(3):
        fetch(order, f"/page{number}")
    say(type="progress", percent=50, requests=3)
    behave = BEHAVIORS.get(order["target"]["domain"].split(".")[0])
    if behave is not None:
        behave(order)
    say(type="coverage", complete=True, reasons=[], pages=3)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The interpreter's own ending would wait for the thread that reads standard input.
    os._exit(code)
