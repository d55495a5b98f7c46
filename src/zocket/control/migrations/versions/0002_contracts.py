"""The contract of each deployment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """One step forward."""
    op.add_column("deployments", sa.Column("contract", sa.LargeBinary(), nullable=True))
