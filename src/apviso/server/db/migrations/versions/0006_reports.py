"""Reports of ended scans, written once and kept"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UNREPORTED = sa.text("finished_at IS NOT NULL AND reported_at IS NULL")
UNSET = sa.text("pdf_tries_left > 0")


def upgrade() -> None:
    op.add_column("scans", sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_scans_unreported", "scans", ["finished_at"], sqlite_where=UNREPORTED, postgresql_where=UNREPORTED)
    op.create_table(
        "reports",
        sa.Column("scan_id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("domain", sa.String(length=300), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("pdf_tries_left", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_reports_organization_id_organizations"),
        sa.ForeignKeyConstraint(["scan_id"], ["scans.id"], name="fk_reports_scan_id_scans"),
        sa.PrimaryKeyConstraint("scan_id", name="pk_reports"),
    )
    op.create_index("ix_reports_unset", "reports", ["written_at"], sqlite_where=UNSET, postgresql_where=UNSET)
    op.create_table(
        "report_files",
        sa.Column("scan_id", sa.String(length=36), nullable=False),
        sa.Column("format", sa.String(length=10), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["scan_id"], ["reports.scan_id"], name="fk_report_files_scan_id_reports"),
        sa.PrimaryKeyConstraint("scan_id", "format", name="pk_report_files"),
    )


def downgrade() -> None:
    op.drop_table("report_files")
    op.drop_index("ix_reports_unset", table_name="reports")
    op.drop_table("reports")
    op.drop_index("ix_scans_unreported", table_name="scans")
    op.drop_column("scans", "reported_at")
