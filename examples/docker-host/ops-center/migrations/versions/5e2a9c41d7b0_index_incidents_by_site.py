"""index incidents by site

Revision ID: 5e2a9c41d7b0
Revises: c83f0b6d19e4
Create Date: 2025-09-08 16:21:57
"""

from alembic import op

revision = "5e2a9c41d7b0"
down_revision = "c83f0b6d19e4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_incidents_site_id_opened_at", "incidents", ["site_id", "opened_at"])


def downgrade() -> None:
    op.drop_index("ix_incidents_site_id_opened_at", table_name="incidents")
