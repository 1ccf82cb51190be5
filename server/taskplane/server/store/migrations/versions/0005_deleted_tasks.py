"""Tombstones of deleted tasks, for watches that resume."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "deleted_tasks",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column(
            "task_type",
            sa.String(100).with_variant(mysql.VARCHAR(100, collation="utf8mb4_bin"), *_MYSQL),
            nullable=False,
        ),
        sa.Column("deleted_at", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL), nullable=False),
        mysql_charset="utf8mb4",
    )
    op.create_index("idx_deleted_tasks_deleted_at", "deleted_tasks", ["deleted_at"])


def downgrade() -> None:
    op.drop_table("deleted_tasks")
