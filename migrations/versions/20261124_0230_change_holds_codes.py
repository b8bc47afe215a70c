"""a row of change holds up to a thousand codes (ADR 0011)

Revises: 61bd4038faf4
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7c41d0f3a9b2"
down_revision = "61bd4038faf4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("change", sa.Column("codes", sa.ARRAY(sa.Text(collation="C")), nullable=True))
    op.execute("UPDATE change SET codes = ARRAY[code]")
    op.alter_column("change", "codes", nullable=False)
    op.drop_constraint("pk_change", "change")
    op.drop_column("change", "code")
    op.create_primary_key("pk_change", "change", ["consumer", "wake_at", "id"])
    # Written once, read once: compressing the codes would cost more than it saves.
    op.execute("ALTER TABLE change ALTER COLUMN codes SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.add_column("change", sa.Column("code", sa.Text(collation="C"), nullable=True))
    op.drop_constraint("pk_change", "change")
    op.execute(
        "INSERT INTO change (consumer, wake_at, code, queued_at, codes)"
        " SELECT consumer, wake_at, unnest(codes), queued_at, '{}' FROM change"
    )
    op.execute("DELETE FROM change WHERE code IS NULL")
    op.alter_column("change", "code", nullable=False)
    op.drop_column("change", "codes")
    op.create_primary_key("pk_change", "change", ["consumer", "wake_at", "id", "code"])
