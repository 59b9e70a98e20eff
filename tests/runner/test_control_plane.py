"""Calls over a real socket: deadlines, broken connections, proxies, trust, and what may not leave the host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apviso.protocol.daemon import Claim, Finish, Heartbeat, Preflight, PreflightCheck
from apviso.protocol.states import EndReason
from apviso.protocol.tokens import Namespace, new_token
from apviso.protocol.wire import JobId
from apviso.runner.clock import Clock
from apviso.runner.connection import open_client
from apviso.runner.control_plane import MAX_ANSWER_BYTES, ControlPlane
from apviso.runner.redaction import Redactor
from apviso.runner.refusals import IdentityRejected, TryAgain, Unreachable
from apviso.runner.trust import BadAuthority, trust
from tests.runner.fake_control_plane import LOST_ANSWER, PROXY_PAGE, FakeControlPlane, Reply, fake_control_plane, problem
from tests.scanning.certificates import self_signed

BEAT = Heartbeat(boot_id="boot", beat_seq=1, version="1")
JOB = JobId("job-1")


@pytest.fixture
async def client(plane: FakeControlPlane) -> AsyncIterator[ControlPlane]:
    async with open_client(None) as http:
        yield ControlPlane(plane.url, http, Redactor(["canary-secret"]), plane.token)


async def test_call_that_is_answered_in_time_is_parsed(client: ControlPlane) -> None:
    answer = await client.heartbeat(BEAT)

    assert answer.runner.id == "runner-1"


async def test_call_that_is_never_answered_ends_at_its_deadline(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.script("/jobs/job-1/lease", Reply(delay=60))

    with pytest.raises(Unreachable, match=r"within 0\.3 s"):
        await client.renew(JOB, 1, 0.3)


async def test_call_whose_connection_breaks_is_unreachable_and_may_have_taken_effect(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.script("/heartbeat", LOST_ANSWER)

    with pytest.raises(Unreachable):
        await client.heartbeat(BEAT)

    assert len(plane.of("/heartbeat")) == 1


async def test_call_that_a_proxy_answers_with_its_page_is_tried_again(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.script("/heartbeat", PROXY_PAGE)

    with pytest.raises(TryAgain, match="Please sign in"):
        await client.heartbeat(BEAT)


async def test_call_that_is_redirected_does_not_carry_the_token_elsewhere(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.script("/heartbeat", Reply(302, "", {"location": f"{plane.url}/elsewhere"}))

    with pytest.raises(TryAgain):
        await client.heartbeat(BEAT)

    assert [call.path for call in plane.calls] == ["/heartbeat"]


async def test_call_with_an_endless_answer_is_cut_off(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.script("/heartbeat", Reply(200, "x" * (MAX_ANSWER_BYTES + 1)))

    with pytest.raises(TryAgain, match="cut off"):
        await client.heartbeat(BEAT)


async def test_call_to_nobody_names_the_address_and_the_cause() -> None:
    async with open_client(None) as http:
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9 .*[Cc]onnect"):
            await ControlPlane("http://127.0.0.1:9", http, Redactor(), new_token(Namespace.RUNNER)).heartbeat(BEAT)


async def test_call_refused_while_the_token_was_replaced_is_tried_again(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.script("/heartbeat", Reply(401, problem(401, "credential_invalid").body, delay=0.3))
    call = asyncio.ensure_future(client.heartbeat(BEAT))
    await plane.until(lambda: len(plane.of("/heartbeat")) == 1)

    client.use_token(new_token(Namespace.RUNNER))

    with pytest.raises(TryAgain):
        await call


async def test_call_refused_with_the_current_token_is_terminal(client: ControlPlane, plane: FakeControlPlane) -> None:
    plane.revoke()

    with pytest.raises(IdentityRejected) as caught:
        await client.heartbeat(BEAT)

    assert caught.value.is_revoked


async def test_calls_carry_no_known_secret_in_any_body(client: ControlPlane, plane: FakeControlPlane) -> None:
    check = PreflightCheck(ok=False, message="canary-secret was refused", remediation="try canary-secret")
    plane.script("/jobs/job-1/preflight", problem(500, "x"))
    plane.script("/jobs/job-1/finish", problem(500, "x"))
    told = Finish(
        attempt=1,
        status="failed",
        end_reason=EndReason.INTERNAL_ERROR,
        error_message="broke at canary-secret",
        last_seq=0,
        runtime_metadata={"argv": ["x", {"deep": "canary-secret"}]},
    )

    await client.heartbeat(BEAT.model_copy(update={"health": {"problem": "canary-secret"}}))
    await client.claim(Claim(nonce="n" * 8), 0)
    for call in (client.preflight(JOB, Preflight(attempt=1, ok=False, checks={"target": check})), client.finish(JOB, told)):
        with pytest.raises(TryAgain):
            await call

    assert "canary-secret" not in plane.received()
    assert plane.received().count("******") == 5
    assert all(plane.token.secret not in call.path + call.query for call in plane.calls)


async def test_answers_of_the_control_plane_count_as_contact_and_proxy_pages_do_not(plane: FakeControlPlane) -> None:
    contacts: list[str] = []
    plane.script("/heartbeat", PROXY_PAGE, problem(503, "overloaded"), Reply(502, "bad gateway"))
    async with open_client(None) as http:
        client = ControlPlane(plane.url, http, Redactor(), plane.token, Clock(), lambda: contacts.append("contact"))

        for _ in range(3):
            with pytest.raises(TryAgain):
                await client.heartbeat(BEAT)
        await client.heartbeat(BEAT)

    assert len(contacts) == 2


async def test_call_goes_through_the_proxy_unless_no_proxy_names_its_host(plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    async with open_client(None) as http:
        with pytest.raises(Unreachable):
            await ControlPlane(plane.url, http, Redactor(), plane.token).heartbeat(BEAT)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    async with open_client(None) as http:
        answer = await ControlPlane(plane.url, http, Redactor(), plane.token).heartbeat(BEAT)

    assert answer.runner.id == "runner-1"


async def test_call_over_tls_is_believed_only_with_the_authority_of_its_certificate(tmp_path: Path) -> None:
    async with fake_control_plane(self_signed(tmp_path)) as plane:
        async with open_client(None) as http:
            with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
                await ControlPlane(plane.url, http, Redactor(), plane.token).heartbeat(BEAT)
        async with open_client(tmp_path / "server.pem") as http:
            answer = await ControlPlane(plane.url, http, Redactor(), plane.token).heartbeat(BEAT)

    assert answer.runner.id == "runner-1"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_trust_in_a_file_that_holds_no_certificate_says_which(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(BadAuthority, match=r"ca\.pem"):
        trust(path)
