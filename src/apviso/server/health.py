"""Probes and metrics: `/healthz` (the process), `/readyz` (database reachable, migrations current), `/metrics`."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from apviso.protocol.wire import Wire
from apviso.server.db.upgrade import is_current
from apviso.server.errors import DatabaseUnavailable, responses
from apviso.server.metrics import CONNECTIONS, DEAF, FLEET, FLUSH_AGE, KEEPS_HOUSE, KNOWN_RUNNERS, PARKING_PLACES, UNWRITTEN
from apviso.server.resources import Plant

router = APIRouter(tags=["health"])
DATABASE_SECONDS = 5.0


class Health(Wire):
    status: str


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", responses=responses(DatabaseUnavailable))
async def readyz(plant: Plant) -> Health:
    """The database is reachable and has the schema of this version."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            current = await is_current(plant.database.engine)
    except (SQLAlchemyError, TimeoutError, OSError) as error:
        raise DatabaseUnavailable from error
    if not current:
        raise DatabaseUnavailable("The database does not have the schema of this version; restart the server to upgrade it.")
    return Health(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(plant: Plant) -> Response:
    """What this process counts, and the whole fleet as the database has it, in Prometheus' text format."""
    FLEET.counts = await plant.census.counts()
    PARKING_PLACES.set(plant.parking.places)
    KNOWN_RUNNERS.set(len(plant.beats))
    UNWRITTEN.set(plant.beats.unwritten)
    FLUSH_AGE.set(plant.flushes.age_seconds)
    CONNECTIONS.set(plant.database.connections_in_use)
    KEEPS_HOUSE.set(plant.replica.is_keeping_house)
    DEAF.set(plant.signals.is_deaf)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
