"""The command that a request waits for, so that its repeat waits for the same; the checkpoint that a resume chose."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.String(64).with_variant(mysql.VARCHAR(64, collation="utf8mb4_bin"), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("task_requests", sa.Column("command_id", _ID))
    op.add_column("tasks", sa.Column("queued_checkpoint_number", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("tasks", "queued_checkpoint_number")
    op.drop_column("task_requests", "command_id")
