"""Commands of requests, choices of resumes, and the serving server."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.String(64).with_variant(mysql.VARCHAR(64, collation="utf8mb4_bin"), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("task_requests", sa.Column("command_id", _ID))
    op.add_column("tasks", sa.Column("queued_checkpoint_number", sa.BigInteger))
    op.execute("INSERT INTO id_blocks (name, next_id) VALUES ('server', 0)")


def downgrade() -> None:
    op.execute("DELETE FROM id_blocks WHERE name = 'server'")
    op.drop_column("tasks", "queued_checkpoint_number")
    op.drop_column("task_requests", "command_id")
