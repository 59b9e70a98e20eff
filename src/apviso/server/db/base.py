"""What every table is made of: names of constraints, types of columns, and times in UTC on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, MetaData, String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from apviso.protocol.wire import FindingId, JobId, OrganizationId, RunnerId, ScanId, ScheduleId, TargetId

_ID = String(36)


class UtcTime(TypeDecorator[datetime]):
    """SQLite keeps no zone: write UTC, read aware times, on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads this class attribute
        datetime: UtcTime,
        OrganizationId: _ID,
        RunnerId: _ID,
        TargetId: _ID,
        ScanId: _ID,
        JobId: _ID,
        FindingId: _ID,
        ScheduleId: _ID,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }
