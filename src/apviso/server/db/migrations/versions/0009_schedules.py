"""Schedules, what became of each of their runs, and the hours in which scans may start"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("target_id", sa.String(length=36), nullable=False),
        sa.Column("runner_id", sa.String(length=36), nullable=True),
        sa.Column("frequency", sa.String(length=10), nullable=True),
        sa.Column("hour", sa.Integer(), nullable=True),
        sa.Column("minute", sa.Integer(), nullable=True),
        sa.Column("day_of_week", sa.Integer(), nullable=True),
        sa.Column("day_of_month", sa.Integer(), nullable=True),
        sa.Column("cron", sa.String(length=100), nullable=True),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("model_preset", sa.String(length=10), nullable=False),
        sa.Column("when_unavailable", sa.String(length=10), nullable=False),
        sa.Column("if_missed", sa.String(length=10), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("next_run_at", UtcTime(), nullable=True),
        sa.Column("decided_at", UtcTime(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_schedules_organization_id_organizations")),
        sa.ForeignKeyConstraint(["runner_id"], ["runners.id"], name=op.f("fk_schedules_runner_id_runners")),
        sa.ForeignKeyConstraint(["target_id"], ["targets.id"], name=op.f("fk_schedules_target_id_targets"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
    )
    op.create_index(op.f("ix_schedules_organization_id_created_at"), "schedules", ["organization_id", "created_at"])
    op.create_index(op.f("ix_schedules_target_id"), "schedules", ["target_id"])
    op.create_index(op.f("ix_schedules_next_run_at"), "schedules", ["next_run_at"])
    op.create_index(op.f("ix_schedules_decided_at"), "schedules", ["decided_at"])
    op.create_table(
        "schedule_runs",
        sa.Column("schedule_id", sa.String(length=36), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=False),
        sa.Column("judged_at", UtcTime(), nullable=False),
        sa.Column("outcome", sa.String(length=10), nullable=False),
        sa.Column("reason_code", sa.String(length=60), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("scan_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["scan_id"], ["scans.id"], name=op.f("fk_schedule_runs_scan_id_scans")),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedules.id"], name=op.f("fk_schedule_runs_schedule_id_schedules"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("schedule_id", "due_at", name=op.f("pk_schedule_runs")),
    )
    op.create_index(op.f("ix_schedule_runs_due_at"), "schedule_runs", ["due_at"])
    op.add_column("targets", sa.Column("scan_windows", sa.JSON(), nullable=True))
    op.add_column("targets", sa.Column("window_opens_at", UtcTime(), nullable=True))
    op.add_column("targets", sa.Column("window_closes_at", UtcTime(), nullable=True))
    op.create_index(op.f("ix_targets_window_opens_at"), "targets", ["window_opens_at"])
    op.create_index(op.f("ix_targets_window_closes_at"), "targets", ["window_closes_at"])
    op.add_column("runners", sa.Column("maintenance_windows", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("runners", "maintenance_windows")
    op.drop_index(op.f("ix_targets_window_closes_at"), "targets")
    op.drop_index(op.f("ix_targets_window_opens_at"), "targets")
    for name in ("window_closes_at", "window_opens_at", "scan_windows"):
        op.drop_column("targets", name)
    op.drop_table("schedule_runs")
    op.drop_table("schedules")
