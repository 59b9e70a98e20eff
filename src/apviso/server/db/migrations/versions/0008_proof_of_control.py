"""Proof of control: what a target's owner publishes, how it was seen, and when it is looked for again"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

IS_LOOKED_FOR = sa.text("verification_due_at IS NOT NULL")


def upgrade() -> None:
    with op.batch_alter_table("targets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("verification_token", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("verification_method", sa.String(length=20), nullable=True))
        batch_op.add_column(sa.Column("verification_checked_at", UtcTime(), nullable=True))
        batch_op.add_column(sa.Column("verification_error", sa.String(length=1000), nullable=True))
        batch_op.add_column(sa.Column("verification_failing_since", UtcTime(), nullable=True))
        batch_op.add_column(sa.Column("verification_due_at", UtcTime(), nullable=True))
    op.create_index("ix_targets_looked_for", "targets", ["verification_due_at"], sqlite_where=IS_LOOKED_FOR, postgresql_where=IS_LOOKED_FOR)


def downgrade() -> None:
    op.drop_index("ix_targets_looked_for", table_name="targets")
    with op.batch_alter_table("targets", schema=None) as batch_op:
        batch_op.drop_column("verification_due_at")
        batch_op.drop_column("verification_failing_since")
        batch_op.drop_column("verification_error")
        batch_op.drop_column("verification_checked_at")
        batch_op.drop_column("verification_method")
        batch_op.drop_column("verification_token")
