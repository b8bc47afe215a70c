"""soonest appointments first (GET /v1/near-due)

Revises: a90c3de24f17
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "d41b7e90c6a2"
down_revision = "a90c3de24f17"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_assessment_period_due",
        "assessment_period",
        ["basis", "period", "deadline_at"],
        postgresql_where=text("period ~ '-[01]'"),
    )


def downgrade() -> None:
    op.drop_index("ix_assessment_period_due", table_name="assessment_period")
