"""hash client addresses

The audit log must no longer hold personal data: addresses are replaced by their hashes.

Revision ID: f03b68d1ca97
Revises: a2597c0e4d6f
Create Date: 2025-11-11 11:20:08
"""

import sqlalchemy as sa
from alembic import op

revision = "f03b68d1ca97"
down_revision = "a2597c0e4d6f"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_log", sa.Column("client_hash", sa.String(64)))
    op.execute("UPDATE audit_log SET client_hash = encode(sha256(host(client_address)::bytea), 'hex')")
    op.alter_column("audit_log", "client_hash", nullable=False)
    op.drop_column("audit_log", "client_address")


def downgrade() -> None:
    raise NotImplementedError(
        "f03b68d1ca97 cannot be undone: the client addresses were hashed, and no hash leads back to its address. "
        "Only a backup taken at a2597c0e4d6f has them."
    )
