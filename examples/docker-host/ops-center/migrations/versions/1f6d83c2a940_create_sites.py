"""create sites

Revision ID: 1f6d83c2a940
Revises:
Create Date: 2025-02-03 09:12:40
"""

import sqlalchemy as sa
from alembic import op

revision = "1f6d83c2a940"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sites",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )


def downgrade() -> None:
    op.drop_table("sites")
