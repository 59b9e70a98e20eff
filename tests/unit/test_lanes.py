"""Short ways that break: the call takes the documented way, which says what is wrong, and the log tells of it."""

from __future__ import annotations

from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from apviso.protocol.tokens import Namespace, new_token
from apviso.server.at_once import AtOnce, Head
from apviso.server.listlane import LIST_PATH, ListLane
from apviso.server.resources import Resources

# It has none of what is asked of it.
BROKEN = cast(Resources, object())


async def test_list_lane_that_breaks_hands_the_call_to_the_application() -> None:
    handed_over: list[str] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        handed_over.append(scope["path"])

    async def nothing() -> Message:
        raise AssertionError("nobody waits for a body")

    async def silent(_: Message) -> None:
        raise AssertionError("nothing is answered")

    key = new_token(Namespace.API_KEY).reveal().encode()
    scope = {"type": "http", "method": "GET", "path": LIST_PATH, "query_string": b"", "headers": [(b"x-api-key", key)]}

    with capture_logs() as logs:
        await ListLane(application, lambda: BROKEN)(scope, nothing, silent)

    assert (handed_over, [line["event"] for line in logs]) == ([LIST_PATH], ["list lane failed"])


def test_head_that_cannot_be_judged_at_once_is_nobodys_to_answer() -> None:
    token = new_token(Namespace.RUNNER).reveal().encode()

    with capture_logs() as logs:
        begun = AtOnce(lambda: BROKEN).begin([(b"authorization", b"Bearer " + token)])

    assert (begun, [line["event"] for line in logs]) == (None, ["call was not judged at once"])


def test_heartbeat_that_cannot_be_answered_at_once_gets_no_answer_there() -> None:
    head = Head(BROKEN, "0123456789ab", b"secret", cast(Any, None), "request", 0.0)

    with capture_logs() as logs:
        answer = AtOnce(lambda: BROKEN).end(head, b"{}")

    assert (answer, [line["event"] for line in logs]) == (None, ["heartbeat was not answered at once"])
