"""create projects, tickets and the audit log

Revision ID: 8d15f6a07c3b
Revises: 3b7e0c91d2a4
Create Date: 2025-03-17 14:30:02
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "8d15f6a07c3b"
down_revision = "3b7e0c91d2a4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("organization_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("starts_on", sa.Date, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name="fk_projects_organization_id_organizations"
        ),
    )
    op.create_index("ix_projects_organization_id", "projects", ["organization_id"])
    op.create_table(
        "tickets",
        sa.Column("id", sa.Integer, sa.Identity(), nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("reporter_id", sa.Integer, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), server_default="open", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tickets"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_tickets_project_id_projects"),
        sa.ForeignKeyConstraint(["reporter_id"], ["users.id"], name="fk_tickets_reporter_id_users"),
    )
    op.create_index("ix_tickets_project_id", "tickets", ["project_id"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("client_address", postgresql.INET, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_audit_log_user_id_users"),
    )


def downgrade() -> None:
    op.drop_table("audit_log")
    op.drop_table("tickets")
    op.drop_table("projects")
