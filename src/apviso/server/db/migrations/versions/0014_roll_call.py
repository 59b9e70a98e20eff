"""Whose report is waited for before scans are handed out, where the records may be old"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


_IS_CALLED = sa.text("roll_call_until IS NOT NULL")


def upgrade() -> None:
    op.add_column("runners", sa.Column("roll_call_until", UtcTime(), nullable=True))
    op.create_index("ix_runners_roll_call", "runners", ["organization_id"], sqlite_where=_IS_CALLED, postgresql_where=_IS_CALLED)


def downgrade() -> None:
    op.drop_index("ix_runners_roll_call", "runners")
    op.drop_column("runners", "roll_call_until")
