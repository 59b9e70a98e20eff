"""What replicas share: the amnesty after all were away, and what the streams were told of each organization's readiness"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "control_plane",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("amnesty_until", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_plane")),
    )
    with op.batch_alter_table("organizations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("told_readiness", sa.String(length=60), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("organizations", schema=None) as batch_op:
        batch_op.drop_column("told_readiness")
    op.drop_table("control_plane")
