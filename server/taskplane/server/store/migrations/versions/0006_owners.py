"""The owner of the tasks, with its epoch."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")
_KEY = sa.String(64).with_variant(mysql.VARCHAR(64, collation="utf8mb4_bin"), *_MYSQL)
_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL)


def upgrade() -> None:
    op.create_table(
        "owners",
        sa.Column("name", _KEY, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("instance", _KEY, nullable=False),
        sa.Column("address", sa.String(300), nullable=False),
        sa.Column("process", sa.String(300), nullable=False),
        sa.Column("taken_at", _TIME),
        sa.Column("renewed_at", _TIME),
        sa.Column("lease_until", _TIME),
        mysql_charset="utf8mb4",
    )
    op.execute("INSERT INTO owners (name, epoch, instance, address, process) VALUES ('tasks', 0, '', '', '')")
    # A server of an older version looks at this number every second, and ends when it has changed.
    op.execute("UPDATE id_blocks SET next_id = next_id + 1 WHERE name = 'server'")


def downgrade() -> None:
    op.drop_table("owners")
