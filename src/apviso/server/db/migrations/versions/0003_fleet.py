"""Ten thousand runners: the timed duties and the counts of running scans look at what they need and at nothing else"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

QUEUED = sa.text("status = 'pending_runner'")
LEASED = sa.text("status IN ('assigned', 'running', 'stale')")
LIVE = sa.text("ended_at IS NULL")


def upgrade() -> None:
    op.create_index("ix_scans_queued_created_at", "scans", ["created_at"], sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.create_index("ix_scans_leased_id", "scans", ["id"], sqlite_where=LEASED, postgresql_where=LEASED)
    op.create_index("ix_attempts_live_organization_id", "attempts", ["organization_id"], sqlite_where=LIVE, postgresql_where=LIVE)


def downgrade() -> None:
    op.drop_index("ix_attempts_live_organization_id", "attempts")
    op.drop_index("ix_scans_leased_id", "scans")
    op.drop_index("ix_scans_queued_created_at", "scans")
