"""grade incidents

Revision ID: c83f0b6d19e4
Revises: 7b05e9d4f261
Create Date: 2025-06-30 11:05:33
"""

import sqlalchemy as sa
from alembic import op

revision = "c83f0b6d19e4"
down_revision = "7b05e9d4f261"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incidents", sa.Column("severity", sa.Text, nullable=False, server_default="low"))
    op.create_check_constraint("ck_incidents_severity", "incidents", "severity IN ('low', 'high')")


def downgrade() -> None:
    # What was graded is lost: it is asked for before.
    op.drop_column("incidents", "severity")
