"""split user names

The full name becomes a given name (up to the first space) and a family name (the rest).

Revision ID: a2597c0e4d6f
Revises: 61f8d3e5b90c
Create Date: 2025-09-02 10:47:51
"""

import sqlalchemy as sa
from alembic import op

revision = "a2597c0e4d6f"
down_revision = "61f8d3e5b90c"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("given_name", sa.String(100)))
    op.add_column("users", sa.Column("family_name", sa.String(100)))
    op.execute(
        "UPDATE users SET given_name = split_part(full_name, ' ', 1),"
        " family_name = substr(full_name, length(split_part(full_name, ' ', 1)) + 2)"
    )
    op.alter_column("users", "given_name", nullable=False)
    op.alter_column("users", "family_name", nullable=False)
    op.drop_column("users", "full_name")


def downgrade() -> None:
    op.add_column("users", sa.Column("full_name", sa.String(200)))
    op.execute("UPDATE users SET full_name = rtrim(given_name || ' ' || family_name)")
    op.alter_column("users", "full_name", nullable=False)
    op.drop_column("users", "family_name")
    op.drop_column("users", "given_name")
