"""What a claim looks for: scans that wait for any runner by their age, and those that wait for one or avoid one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_IS_ANYBODYS = sa.text("status = 'pending_runner' AND requested_runner_id IS NULL AND avoid_runner_id IS NULL")
_IS_FOR_SOME = sa.text("status = 'pending_runner' AND (requested_runner_id IS NOT NULL OR avoid_runner_id IS NOT NULL)")


def upgrade() -> None:
    op.create_index(
        "ix_scans_anybodys",
        "scans",
        ["organization_id", "target_visibility", "created_at", "id"],
        sqlite_where=_IS_ANYBODYS,
        postgresql_where=_IS_ANYBODYS,
    )
    op.create_index(
        "ix_scans_for_some", "scans", ["organization_id", "status", "created_at"], sqlite_where=_IS_FOR_SOME, postgresql_where=_IS_FOR_SOME
    )


def downgrade() -> None:
    op.drop_index("ix_scans_for_some", table_name="scans")
    op.drop_index("ix_scans_anybodys", table_name="scans")
