"""Second tries and turns: of reports and of runs of schedules, until they are given up; when a window next opens or closes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scans", sa.Column("report_failures", sa.Integer(), nullable=True))
    op.add_column("scans", sa.Column("report_due_at", UtcTime(), nullable=True))
    op.add_column("scans", sa.Column("report_given_up", sa.String(300), nullable=True))
    op.add_column("reports", sa.Column("pdf_due_at", UtcTime(), nullable=True))
    op.add_column("reports", sa.Column("not_made", sa.JSON(), nullable=True))
    op.add_column("schedules", sa.Column("owed_due_at", UtcTime(), nullable=True))
    op.add_column("schedules", sa.Column("owed_try_at", UtcTime(), nullable=True))
    op.create_index(op.f("ix_schedules_owed_try_at"), "schedules", ["owed_try_at"])
    op.add_column("targets", sa.Column("window_turns_at", UtcTime(), nullable=True))
    op.create_index(op.f("ix_targets_window_turns_at"), "targets", ["window_turns_at"])
    op.add_column("runners", sa.Column("maintenance_turns_at", UtcTime(), nullable=True))
    op.create_index(op.f("ix_runners_maintenance_turns_at"), "runners", ["maintenance_turns_at"])
    # What was set before has its next turn at the latest when its stretch is over; of a runner nobody knows it, so somebody looks at once.
    op.execute("UPDATE targets SET window_turns_at = window_closes_at")
    op.execute("UPDATE runners SET maintenance_turns_at = created_at WHERE CAST(maintenance_windows AS TEXT) NOT IN ('[]', 'null')")


def downgrade() -> None:
    op.drop_index(op.f("ix_runners_maintenance_turns_at"), "runners")
    op.drop_column("runners", "maintenance_turns_at")
    op.drop_index(op.f("ix_targets_window_turns_at"), "targets")
    op.drop_column("targets", "window_turns_at")
    op.drop_index(op.f("ix_schedules_owed_try_at"), "schedules")
    for name in ("owed_try_at", "owed_due_at"):
        op.drop_column("schedules", name)
    for name in ("not_made", "pdf_due_at"):
        op.drop_column("reports", name)
    for name in ("report_given_up", "report_due_at", "report_failures"):
        op.drop_column("scans", name)
