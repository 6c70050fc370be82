"""remember when users were last seen

Revision ID: 17ce94a8b5d0
Revises: f03b68d1ca97
Create Date: 2026-01-20 13:05:26
"""

import sqlalchemy as sa
from alembic import op

revision = "17ce94a8b5d0"
down_revision = "f03b68d1ca97"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("last_seen_at", sa.DateTime(timezone=True)))
    op.execute(
        "UPDATE users SET last_seen_at = seen.at"
        " FROM (SELECT user_id, max(occurred_at) AS at FROM audit_log GROUP BY user_id) AS seen"
        " WHERE seen.user_id = users.id"
    )


def downgrade() -> None:
    pass
