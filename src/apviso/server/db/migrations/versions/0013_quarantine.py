"""Why a runner was kept from scans, and its latest boots with their addresses; the gaps of logs"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


_IS_OF_RUNNER = sa.text("subject_type = 'runner'")


def upgrade() -> None:
    op.add_column("runners", sa.Column("quarantine", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("runners", sa.Column("trusted_at", UtcTime(), nullable=True))
    op.add_column("runners", sa.Column("boots", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("attempts", sa.Column("log_gaps", sa.JSON(none_as_null=True), nullable=True))
    op.create_index(
        "ix_audit_events_of_runner", "audit_events", ["subject_id", "at"], sqlite_where=_IS_OF_RUNNER, postgresql_where=_IS_OF_RUNNER
    )


def downgrade() -> None:
    op.drop_index("ix_audit_events_of_runner", "audit_events")
    op.drop_column("attempts", "log_gaps")
    op.drop_column("runners", "boots")
    op.drop_column("runners", "trusted_at")
    op.drop_column("runners", "quarantine")
