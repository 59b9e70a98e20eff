"""Calls of the contract that the client has no methods for: verification and schedules. What is answered is handed on as it came."""

from __future__ import annotations

from dataclasses import replace

from pydantic import JsonValue

from apviso.client.calls import Call, act, create, get, segment
from apviso.protocol.targets import Target, TargetAnswer
from apviso.protocol.wire import Wire

# The control plane asks name servers and the site itself before it answers.
VERIFY_SECONDS = 45.0


class InstructionsAnswer(Wire):
    instructions: dict[str, JsonValue]


class ScheduleAnswer(Wire):
    schedule: dict[str, JsonValue]


class ScheduleList(Wire):
    schedules: list[dict[str, JsonValue]]
    total: int
    page: int
    limit: int
    total_pages: int


class Proof(Wire):
    method: str


class NewSchedule(Wire):
    target_id: str
    frequency: str
    hour: int
    minute: int | None = None
    day_of_week: int | None = None
    day_of_month: int | None = None
    model_preset: str | None = None


def instructions(target_id: str) -> Call[InstructionsAnswer]:
    return get(f"/targets/{segment(target_id)}/verify/instructions", InstructionsAnswer)


def verify(target_id: str, method: str) -> Call[Target]:
    call = act(f"/targets/{segment(target_id)}/verify", Proof(method=method), TargetAnswer).then(lambda answer: answer.target)
    return replace(call, seconds=VERIFY_SECONDS)


def schedules(page: int, limit: int, target_id: str | None) -> Call[ScheduleList]:
    return get("/schedules", ScheduleList, page=page, limit=limit, target_id=target_id)


def new_schedule(wanted: NewSchedule) -> Call[ScheduleAnswer]:
    return create("/schedules", wanted, ScheduleAnswer)
