"""Proof of control, as people see it: what to publish, what was looked at and seen, and the organization's switch."""

from __future__ import annotations

from typing import Literal

from apviso.protocol.states import VerificationMethod
from apviso.protocol.wire import OrganizationId, TargetId, Wire


class VerificationRequest(Wire):
    method: VerificationMethod


class DnsTxtInstructions(Wire):
    record_name: str
    record_type: Literal["TXT"] = "TXT"
    record_value: str
    text: str


class FileInstructions(Wire):
    """`urls` are asked in this order; the first that answers with the content is enough."""

    path: str
    content: str
    urls: list[str]
    text: str


class MetaTagInstructions(Wire):
    """`urls` are asked in this order; the first whose head has the tag is enough."""

    tag: str
    urls: list[str]
    text: str


class VerificationInstructions(Wire):
    """One of the three is enough. `dnsTxt` is null for an IP address: it has no records of its own."""

    target_id: TargetId
    host: str
    needed: bool
    reason: str
    dns_txt: DnsTxtInstructions | None
    file: FileInstructions
    meta_tag: MetaTagInstructions


class VerificationInstructionsAnswer(Wire):
    instructions: VerificationInstructions


class VerificationCheck(Wire):
    """One place that was looked at. `seen` is what was found there, cut and without control characters; `fix` is null where it is right."""

    looked_at: str
    ok: bool
    seen: str
    required: str
    message: str
    fix: str | None


class Organization(Wire):
    id: OrganizationId
    name: str
    requires_verification: bool


class OrganizationPatch(Wire):
    requires_verification: bool | None = None


class OrganizationAnswer(Wire):
    organization: Organization
