"""The drain order of an operator, stored with the unit to survive the server."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("execution_units", sa.Column("drain", sa.JSON))


def downgrade() -> None:
    op.drop_column("execution_units", "drain")
