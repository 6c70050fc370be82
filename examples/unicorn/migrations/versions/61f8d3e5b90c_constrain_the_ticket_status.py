"""constrain the ticket status

Revision ID: 61f8d3e5b90c
Revises: c40a9be27f18
Create Date: 2025-06-24 16:02:37
"""

from alembic import op

revision = "61f8d3e5b90c"
down_revision = "c40a9be27f18"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_check_constraint(
        op.f("ck_tickets_status"), "tickets", "status IN ('open', 'in progress', 'resolved', 'closed')"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_tickets_status"), "tickets", type_="check")
