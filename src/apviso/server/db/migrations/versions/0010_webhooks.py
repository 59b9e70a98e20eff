"""Webhooks with their deliveries; API keys know whether it was told that they run out"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from apviso.server.db.base import UtcTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.String(36)
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IS_OPEN = sa.text("status IN ('pending', 'held')")
_IS_FINISHED = sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expiry_told_at", UtcTime(), nullable=True))
    op.create_table(
        "webhooks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("organization_id", _ID, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("description", sa.String(1000), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(200), nullable=True),
        sa.Column("secrets", sa.JSON(), nullable=False),
        sa.Column("failing_since", UtcTime(), nullable=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_webhooks_organization_id_organizations"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_organization_id_kind_created_at", "webhooks", ["organization_id", "kind", "created_at"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("number", _COUNTER, autoincrement=True, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("webhook_id", _ID, nullable=False),
        sa.Column("event", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("event_at", UtcTime(), nullable=False),
        sa.Column("told_at", UtcTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("is_transition", sa.Boolean(), nullable=False),
        sa.Column("is_ordered", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", UtcTime(), nullable=True),
        sa.Column("last_attempt_at", UtcTime(), nullable=True),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(300), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name="fk_webhook_deliveries_webhook_id_webhooks"),
        sa.PrimaryKeyConstraint("number", name="pk_webhook_deliveries"),
        sa.UniqueConstraint("id", name="uq_webhook_deliveries_id"),
    )
    op.create_index("ix_webhook_deliveries_webhook_id_number", "webhook_deliveries", ["webhook_id", "number"])
    op.create_index(
        "ix_webhook_deliveries_due", "webhook_deliveries", ["next_attempt_at"], sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN
    )
    op.create_index(
        "ix_webhook_deliveries_order",
        "webhook_deliveries",
        ["webhook_id", "subject", "number"],
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    )
    op.create_index("ix_webhook_deliveries_told", "webhook_deliveries", ["webhook_id", "subject", "told_at"])
    op.create_index(
        "ix_webhook_deliveries_log", "webhook_deliveries", ["finished_at"], sqlite_where=_IS_FINISHED, postgresql_where=_IS_FINISHED
    )


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    op.drop_column("api_keys", "expiry_told_at")
