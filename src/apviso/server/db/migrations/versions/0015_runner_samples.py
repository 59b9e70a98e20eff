"""What runners say of their health over a day"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runner_samples",
        sa.Column("runner_id", sa.String(36), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("quarter", sa.Integer(), nullable=False),
        sa.Column("disk_free_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_available_bytes", sa.BigInteger(), nullable=True),
        sa.Column("load_percent", sa.Integer(), nullable=True),
        sa.Column("clock_skew_ms", sa.BigInteger(), nullable=True),
        sa.Column("spool_backlog_bytes", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["runner_id"], ["runners.id"], name=op.f("fk_runner_samples_runner_id_runners")),
        sa.PrimaryKeyConstraint("runner_id", "place", name=op.f("pk_runner_samples")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("runner_samples")
