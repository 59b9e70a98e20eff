"""A scan program that keeps the contract, and what is changed in it for each way to break it: one change, one check."""

from __future__ import annotations

from dataclasses import dataclass

from apviso.runner.conformance.situations import Situation

GOOD = """
import http.client, json, os, signal, socket, sys, threading

def say(**line):
    print(json.dumps(line), flush=True)

def end(code, complete, pages=0):
    say(type="coverage", complete=complete, pages=pages)
    os._exit(code)

def leave_with_the_runner():
    sys.stdin.read()
    os._exit(137)

class Guard(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(order["proxySocket"])

def fetch(url):
    connection = Guard("guard")
    connection.request("GET", url, headers={"Host": url.split("/")[2]})
    answer = connection.getresponse()
    answer.read()
    return answer

signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
try:
    order = json.loads(sys.stdin.readline())
    url = order["target"]["scanUrl"]
except (ValueError, KeyError):
    end(30, False)
say(type="log", message="begun")
threading.Thread(target=leave_with_the_runner, daemon=True).start()
try:
    fetch(url)
except (OSError, http.client.HTTPException):
    end(10, False)
end(0, True, 1)
"""


@dataclass(frozen=True)
class Breach:
    """`codes` are the checks that must not pass in `situation`, and no others."""

    name: str
    old: str
    new: str
    situation: Situation
    codes: frozenset[str]

    @property
    def program(self) -> str:
        assert GOOD.count(self.old) == 1, self.old
        return GOOD.replace(self.old, self.new)


def _breach(name: str, old: str, new: str, situation: Situation, *codes: str) -> Breach:
    return Breach(name, old, new, situation, frozenset(codes))


ORDINARY = Situation.ORDINARY
_FETCH = "    fetch(url)\n"
_LEAVE = "    os._exit(code)"
_INSIST = "    assert 'fromALaterVersion' not in order\n    url ="
FAILURES = (
    _breach("does_nothing", GOOD, "", ORDINARY, "reads_order", "first_line", "uses_guard", "coverage"),
    _breach("writes_garbage", _FETCH, _FETCH + "    print('<h1>looking\\x1b[2J')\n", ORDINARY, "lines"),
    _breach("writes_an_unknown_kind", '(type="log"', '(type="note"', ORDINARY, "lines"),
    _breach("writes_a_line_beyond_bounds", 'message="begun"', 'message="x" * 70_000', ORDINARY, "lines"),
    _breach("says_no_coverage", '    say(type="coverage", complete=complete, pages=pages)\n', "", ORDINARY, "coverage"),
    _breach("goes_on_after_its_coverage", _LEAVE, '    say(type="log", message="done")\n' + _LEAVE, ORDINARY, "coverage"),
    _breach("saw_no_page", "end(0, True, 1)", "end(0, True, 0)", ORDINARY, "coverage"),
    _breach("ends_with_another_code", "end(0, True, 1)", "end(1, True, 1)", ORDINARY, "exit_code"),
    _breach("asks_for_another_page", _FETCH, '    fetch("/".join(url.split("/")[:3]) + "/")\n', ORDINARY, "reads_order"),
    _breach("goes_past_the_guard", _FETCH, "    socket.socket().connect_ex(('192.0.2.1', 80))\n", ORDINARY, "reads_order", "uses_guard"),
    _breach(
        "insists_on_known_fields",
        "    url =",
        "    assert 'fromALaterVersion' not in order\n    url =",
        Situation.UNKNOWN_FIELDS,
        "unknown_fields",
    ),
    _breach("sees_a_target_that_is_down", "    end(10, False)", "    pass", Situation.TARGET_DOWN, "target_down"),
    _breach("takes_any_order", "    end(30, False)", "    end(0, True)", Situation.INVALID_ORDER, "invalid_order"),
    _breach("ignores_sigterm", "lambda *_: os._exit(143)", "signal.SIG_IGN", Situation.TERMINATED, "termination"),
    _breach("outlives_its_runner", "    os._exit(137)", "    pass", Situation.INPUT_ENDS, "input_end"),
)
WARNINGS = (
    _breach("leaves_the_target", _FETCH, _FETCH + '    fetch("http://192.0.2.1/")\n', ORDINARY, "keeps_rules"),
    _breach("asks_for_excluded_pages", _FETCH, _FETCH + '    fetch(url + "logout")\n', ORDINARY, "keeps_rules"),
    _breach("knocks_on_for_ever", _FETCH, "    for _ in range(150): fetch(url)\n", Situation.SMALL_BUDGET, "budget"),
)
