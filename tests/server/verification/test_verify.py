"""Proving control over HTTP: the instructions, looking for the proof, and who may ask."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest
from sqlalchemy import update

from apviso.server.db.schema import TargetRow
from apviso.server.settings import Settings
from tests.server.verification.conftest import HOST, Applicant
from tests.support.clock import Clock
from tests.support.control_plane import Plane
from tests.support.names import NameServer
from tests.support.people import Organization, Runner
from tests.support.sites import Site


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_verifications_at_once": 2})


async def test_instructions_name_record_file_and_tag_word_for_word(applicant: Applicant, shop: Site) -> None:
    told = applicant.instructions

    value = told["dnsTxt"]["recordValue"]
    name, _, token = value.partition("=")
    origins = [f"https://{HOST}:{shop.port}", f"http://{HOST}:{shop.port}"]
    assert (name, len(token)) == ("apviso-challenge", 32)
    assert (told["host"], told["needed"]) == (HOST, True)
    assert (told["dnsTxt"]["recordName"], told["dnsTxt"]["recordType"]) == (f"_apviso-challenge.{HOST}", "TXT")
    assert (told["file"]["path"], told["file"]["content"]) == ("/.well-known/apviso-challenge.txt", value)
    assert told["file"]["urls"] == [f"{origin}/.well-known/apviso-challenge.txt" for origin in origins]
    assert told["metaTag"]["tag"] == f'<meta name="apviso-challenge" content="{token}">'
    assert told["metaTag"]["urls"] == [f"{origin}/" for origin in origins]


async def test_instructions_of_two_targets_have_words_of_their_own(acme: Organization, other: Organization) -> None:
    targets = [await one.target(HOST, "public") for one in (acme, other)]

    told = [await one.get(f"/targets/{target['id']}/verify/instructions") for one, target in zip((acme, other), targets, strict=True)]

    words = [answer.json()["instructions"]["dnsTxt"]["recordValue"] for answer in told]
    assert words[0] != words[1]


async def test_instructions_of_a_target_of_an_earlier_version_stay_the_same_once_asked_for(applicant: Applicant, plane: Plane) -> None:
    async with plane.resources.database.writing() as work:
        await work.db.execute(update(TargetRow).values(verification_token=None))

    told = await asyncio.gather(*(applicant.organization.get(f"{applicant.path}/verify/instructions") for _ in range(4)))

    words = {answer.json()["instructions"]["file"]["content"] for answer in told}
    assert len(words) == 1
    assert words != {applicant.instructions["file"]["content"]}


async def test_internal_target_needs_no_proof_and_is_vouched_for_by_the_runner(
    acme: Organization, runner: Runner, names: NameServer
) -> None:
    target = await acme.target("intranet.example.com", "private_internal")

    told = (await acme.get(f"/targets/{target['id']}/verify/instructions")).json()["instructions"]
    refused = await acme.post(f"/targets/{target['id']}/verify", {"method": "file"})
    readiness = (await acme.get(f"/runners/readiness?targetId={target['id']}")).json()

    assert (told["needed"], "scope file of the runner" in told["reason"]) == (False, True)
    assert (refused.status_code, refused.json()["code"]) == (409, "verification_not_needed")
    (check,) = [check for check in readiness["checks"] if check["code"] == "target_verified"]
    assert (check["ok"], "scope file of the runner vouches" in check["message"]) == (True, True)
    assert names.asked == []


async def test_proof_that_is_there_verifies_the_target_so_that_a_scan_starts(
    applicant: Applicant, runner: Runner, names: NameServer
) -> None:
    before = await applicant.organization.post("/scans", {"targetId": applicant.target["id"]})
    applicant.publish(names)

    verified = await applicant.verify("dns_txt")
    after = await applicant.organization.post("/scans", {"targetId": applicant.target["id"]})

    assert (before.status_code, before.json()["code"]) == (403, "target_unverified")
    now = "2026-05-03T09:15:32Z"
    facts = {"verified": True, "verifiedAt": now, "verificationMethod": "dns_txt", "verificationCheckedAt": now}
    assert verified.json()["target"] == {**applicant.target, **facts}
    assert after.status_code == 201
    assert await applicant.told() == ["target.created", "target.verified"]


async def test_proof_that_is_not_there_is_told_with_all_that_was_looked_at(applicant: Applicant, shop: Site) -> None:
    shop.serve("/.well-known/apviso-challenge.txt", "apviso-challenge=another")

    refused = await applicant.verify("file")

    assert (refused.status_code, refused.json()["code"]) == (409, "verification_failed")
    https, http = refused.json()["checks"]
    assert (https["ok"], http["ok"]) == (False, False)
    assert http["lookedAt"] == applicant.instructions["file"]["urls"][1]
    assert http["seen"] == 'a file that begins with "apviso-challenge=another"'
    assert http["required"] == applicant.instructions["file"]["content"]
    assert http["fix"] == f"Serve a line {http['required']} at {http['lookedAt']}."
    shown = await applicant.shown()
    assert (shown["verified"], shown["verificationError"]) == (False, refused.json()["error"])
    assert shown["verificationCheckedAt"] == "2026-05-03T09:15:32Z"
    assert await applicant.told() == ["target.created", "target.verification_failed"]


async def test_another_way_tried_in_vain_takes_nothing_from_a_proof_that_holds(applicant: Applicant, names: NameServer) -> None:
    applicant.publish(names)
    verified = (await applicant.verify("dns_txt")).json()["target"]

    refused = await applicant.verify("file")

    assert refused.status_code == 409
    assert await applicant.shown() == verified


async def test_public_name_with_the_address_of_cloud_metadata_is_refused(acme: Organization, names: NameServer) -> None:
    target = await acme.target("rebound.example.com", "public")
    names.publish("rebound.example.com", "A", "169.254.169.254")

    refused = await acme.post(f"/targets/{target['id']}/verify", {"method": "file"})

    assert refused.json()["code"] == "verification_failed"
    assert "169.254.169.254, an internal address" in refused.json()["error"]


async def test_preview_on_an_internal_address_is_asked_where_the_operator_permits_its_network(
    plane: Plane, applicant: Applicant, names: NameServer, shop: Site
) -> None:
    staging = await applicant.organization.target("127.0.0.1", "staging_preview", scanUrl=f"http://127.0.0.1:{shop.port}/")
    told = (await applicant.organization.get(f"/targets/{staging['id']}/verify/instructions")).json()["instructions"]
    shop.serve("/.well-known/apviso-challenge.txt", told["file"]["content"])

    by_record = await applicant.organization.post(f"/targets/{staging['id']}/verify", {"method": "dns_txt"})
    by_file = await applicant.organization.post(f"/targets/{staging['id']}/verify", {"method": "file"})

    assert plane.resources.settings.verification_networks == [ip_network("127.0.0.0/8")]
    assert told["dnsTxt"] is None
    assert (by_record.status_code, by_record.json()["errors"][0]["field"]) == (422, "method")
    assert by_file.json()["target"]["verified"]


async def test_look_holds_no_transaction_and_no_more_than_its_places(applicant: Applicant, names: NameServer, shop: Site) -> None:
    shop.slow.add("/")
    held = [asyncio.create_task(applicant.verify("meta_tag")) for _ in range(2)]
    async with asyncio.timeout(5):
        while len(shop.asked) < 2:
            await asyncio.wait(held, timeout=0.01)

    refused = await applicant.verify("meta_tag")
    edited = await applicant.organization.patch(
        applicant.path, {"scanUrl": f"http://127.0.0.1:{shop.port}/", "visibility": "staging_preview"}
    )
    shop.over.set()
    answers = await asyncio.gather(*held)

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert edited.status_code == 200
    assert {answer.json()["code"] for answer in answers} == {"verification_failed"}
    # What was seen belongs to another host than the target has now.
    assert (await applicant.shown())["verificationError"] is None


async def test_verify_by_an_unknown_method_names_the_field(applicant: Applicant) -> None:
    refused = await applicant.verify("email")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "method")


async def test_target_of_another_organization_is_neither_told_nor_verified(applicant: Applicant, other: Organization) -> None:
    told = await other.get(f"{applicant.path}/verify/instructions")
    refused = await other.post(f"{applicant.path}/verify", {"method": "dns_txt"})

    assert {(answer.status_code, answer.json()["code"]) for answer in (told, refused)} == {(404, "target_not_found")}


async def test_verify_with_a_key_that_only_reads_is_refused(applicant: Applicant) -> None:
    reader = await applicant.organization.limited_to("targets:read")

    told = await reader.get(f"{applicant.path}/verify/instructions")
    refused = await reader.post(f"{applicant.path}/verify", {"method": "dns_txt"})

    assert (told.status_code, refused.status_code, refused.json()["code"]) == (200, 403, "insufficient_scope")


async def test_switch_off_lets_unproved_targets_be_scanned_and_is_audited(applicant: Applicant, runner: Runner, clock: Clock) -> None:
    acme, started = applicant.organization, {"targetId": applicant.target["id"]}
    before = (await acme.get("/organization")).json()["organization"]

    off = await acme.patch("/organization", {"requiresVerification": False})
    again = await acme.patch("/organization", {"requiresVerification": False})
    readiness = (await acme.get(f"/runners/readiness?targetId={applicant.target['id']}")).json()
    scanned = await acme.post("/scans", started)

    assert before == {"id": acme.id, "name": "Acme", "requiresVerification": True}
    assert off.json() == again.json() == {"organization": {**before, "requiresVerification": False}}
    assert (readiness["ready"], scanned.status_code) == (True, 201)
    (check,) = [check for check in readiness["checks"] if check["code"] == "target_verified"]
    assert "verification is switched off for this organization" in check["message"]
    events = (await acme.get(f"/audit-events?subjectId={acme.id}")).json()["auditEvents"]
    changes = [(one["actor"], one["details"]) for one in events if one["action"] == "organization.verification_changed"]
    assert changes == [(acme.key.split("_")[1], {"requiresVerification": False})]


async def test_switch_is_for_administrators_and_for_the_own_organization(acme: Organization, other: Organization) -> None:
    limited = await acme.limited_to("targets:*")

    refused = [await limited.get("/organization"), await limited.patch("/organization", {"requiresVerification": False})]
    await other.patch("/organization", {"requiresVerification": False})

    assert {(answer.status_code, answer.json()["required"]) for answer in refused} == {(403, "admin")}
    assert (await acme.get("/organization")).json()["organization"]["requiresVerification"]
