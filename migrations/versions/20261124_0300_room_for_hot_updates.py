"""room on the pages of what workers update again and again (ADR 0004)

Revises: 7c41d0f3a9b2
"""

from __future__ import annotations

from alembic import op

revision = "3e5d9c27b1f4"
down_revision = "7c41d0f3a9b2"
branch_labels = None
depends_on = None

# A new version of a row that finds room on its page needs no entry in any index (no indexed column changes).
_ROOM = {"assessment": 80, "assessment_period": 80, "comparison": 80, "tally": 70}


def upgrade() -> None:
    for table, percent in _ROOM.items():
        op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")


def downgrade() -> None:
    for table in _ROOM:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
