"""count for all groups: `chiso recount` fills the new columns

Revises: 5b7e01cacf11
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "a90c3de24f17"
down_revision = "5b7e01cacf11"
branch_labels = None
depends_on = None

_COLUMNS = (
    "received",
    "online",
    "online_with_result",
    "with_result",
    "with_component",
    "with_both",
    "reused",
    "from_store",
    "citizen_data",
    "fee_asked",
    "fee_not_free",
    "paid_online",
)


def upgrade() -> None:
    for column in _COLUMNS:
        op.add_column(
            "tally", sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
        )


def downgrade() -> None:
    for column in reversed(_COLUMNS):
        op.drop_column("tally", column)
