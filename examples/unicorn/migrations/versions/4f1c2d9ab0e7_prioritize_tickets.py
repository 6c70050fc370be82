"""prioritize tickets

Revision ID: 4f1c2d9ab0e7
Revises: 17ce94a8b5d0
Create Date: 2026-03-09 09:41:13
"""

import sqlalchemy as sa
from alembic import op

revision = "4f1c2d9ab0e7"
down_revision = "17ce94a8b5d0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tickets", sa.Column("priority", sa.String(10), server_default="normal", nullable=False))
    op.execute("UPDATE tickets SET priority = 'high' WHERE status = 'in progress'")
    op.execute("UPDATE tickets SET priority = 'low' WHERE status = 'closed'")
    op.create_check_constraint(op.f("ck_tickets_priority"), "tickets", "priority IN ('low', 'normal', 'high', 'urgent')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_tickets_priority"), "tickets", type_="check")
    op.drop_column("tickets", "priority")
