"""Triage: the end of accepted risks, the history of a finding's status, the results of retests"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FOR_A_TIME = sa.text("accepted_until IS NOT NULL")


def upgrade() -> None:
    op.add_column("findings", sa.Column("accepted_until", UtcTime(), nullable=True))
    op.create_index("ix_findings_accepted_until", "findings", ["accepted_until"], sqlite_where=FOR_A_TIME, postgresql_where=FOR_A_TIME)
    op.create_table(
        "finding_history",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("finding_id", sa.String(length=36), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("cause", sa.String(length=10), nullable=False),
        sa.Column("from_status", sa.String(length=20), nullable=False),
        sa.Column("to_status", sa.String(length=20), nullable=False),
        sa.Column("note", sa.String(length=1000), nullable=True),
        sa.Column("until", UtcTime(), nullable=True),
        sa.Column("scan_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], name=op.f("fk_finding_history_finding_id_findings")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding_history")),
    )
    op.create_index("ix_finding_history_finding_id_id", "finding_history", ["finding_id", "id"])
    op.create_table(
        "retests",
        sa.Column("scan_id", sa.String(length=36), nullable=False),
        sa.Column("finding_id", sa.String(length=36), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], name=op.f("fk_retests_finding_id_findings")),
        sa.ForeignKeyConstraint(["scan_id"], ["scans.id"], name=op.f("fk_retests_scan_id_scans")),
        sa.PrimaryKeyConstraint("scan_id", "finding_id", name=op.f("pk_retests")),
    )


def downgrade() -> None:
    op.drop_table("retests")
    op.drop_index("ix_finding_history_finding_id_id", "finding_history")
    op.drop_table("finding_history")
    op.drop_index("ix_findings_accepted_until", "findings")
    op.drop_column("findings", "accepted_until")
