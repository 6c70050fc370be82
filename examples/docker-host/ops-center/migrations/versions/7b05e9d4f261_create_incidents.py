"""create incidents

Revision ID: 7b05e9d4f261
Revises: 1f6d83c2a940
Create Date: 2025-03-17 14:40:02
"""

import sqlalchemy as sa
from alembic import op

revision = "7b05e9d4f261"
down_revision = "1f6d83c2a940"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("site_id", sa.Integer, sa.ForeignKey("sites.id"), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    op.drop_table("incidents")
