"""The fleet: who is there, in what state and why, and what can be done with each runner."""

from __future__ import annotations

from fastapi.responses import Response

from apviso.protocol.states import RunnerStatus
from apviso.server.dashboard.routing import page_router
from apviso.server.dashboard.visitors import Posted, Visiting

router = page_router("/runners")
PER_PAGE = 100


@router.get("")
async def list_runners(visitor: Visiting, status: str = "", name: str = "", label: str = "") -> Response:
    wanted = RunnerStatus(status) if status in set(RunnerStatus) else None
    answer = await visitor.api.runners.list(status=wanted, name=name or None, label=label or None)
    return visitor.page(
        "runners/list.html.j2",
        live="runner readiness",
        runners=answer.runners[:PER_PAGE],
        total=len(answer.runners),
        readiness=answer.readiness,
        status=status,
        name=name,
        label=label,
    )


@router.get("/{id}")
async def show_runner(id: str, visitor: Visiting) -> Response:
    runner = await visitor.api.runners.get(id)
    return visitor.page("runners/one.html.j2", live="runner", runner=runner)


@router.get("/{id}/resume")
async def ask_resume(id: str, visitor: Visiting) -> Response:
    return visitor.page("runners/resume.html.j2", runner=await visitor.api.runners.get(id))


@router.post("/{id}/resume")
async def resume(id: str, posted: Posted) -> Response:
    runner = await posted.visitor.api.runners.resume(id)
    return posted.go(f"/runners/{runner.id}", f"{runner.name} takes scans again.")
