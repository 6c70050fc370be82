"""index the audit log by user and time

Revision ID: c40a9be27f18
Revises: 8d15f6a07c3b
Create Date: 2025-05-06 08:55:19
"""

from alembic import op

revision = "c40a9be27f18"
down_revision = "8d15f6a07c3b"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_audit_log_user_id_occurred_at", "audit_log", ["user_id", "occurred_at"])


def downgrade() -> None:
    op.drop_index("ix_audit_log_user_id_occurred_at", table_name="audit_log")
