"""The requirements' three tables with our columns, checkpoints, request ids and id blocks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MYSQL = ("mysql", "mariadb")
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TIMESTAMP = sa.DateTime().with_variant(mysql.TIMESTAMP(fsp=6), *_MYSQL)
_DATETIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL)


def _key(length: int) -> sa.types.TypeEngine[str]:
    exact = mysql.VARCHAR(length, collation="utf8mb4_bin")
    return sa.String(length).with_variant(exact, *_MYSQL)


def upgrade() -> None:
    _create_tasks()
    _create_history()
    _create_units()
    _create_checkpoints()
    _create_commands()
    _create_requests()
    _create_id_blocks()


def downgrade() -> None:
    for table in (
        "id_blocks",
        "task_requests",
        "task_commands",
        "task_checkpoints",
        "execution_units",
        "task_status_history",
        "tasks",
    ):
        op.drop_table(table)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("task_name", sa.String(255), nullable=False),
        sa.Column("task_type", _key(100), nullable=False),
        sa.Column(
            "status",
            sa.Enum("PENDING", "RUNNING", "SUCCESS", "FAILED", "PAUSED", "CANCELLED", name="task_status"),
            nullable=False,
            server_default="PENDING",
        ),
        sa.Column("priority", sa.Integer, server_default="0"),
        sa.Column("config", sa.JSON),
        sa.Column("execution_unit_id", _key(255)),
        sa.Column("execution_unit_type", sa.String(100)),
        sa.Column("created_at", _TIMESTAMP, server_default=_now()),
        sa.Column("updated_at", _TIMESTAMP, server_default=_now(on_update=True)),
        sa.Column("started_at", _TIMESTAMP),
        sa.Column("completed_at", _TIMESTAMP),
        sa.Column("error_message", sa.Text),
        sa.Column("retry_count", sa.Integer, server_default="0"),
        sa.Column("max_retries", sa.Integer, server_default="3"),
        sa.Column("result", sa.JSON),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("accepted_at", _DATETIME),
        sa.Column("progress", sa.Float(53)),
        sa.Column("progress_message", sa.String(1000)),
        sa.Column("progress_at", _DATETIME),
        sa.Column("checkpoint_number", sa.BigInteger),
        sa.Column("checkpoint_attempt", sa.Integer),
        sa.Column("checkpoint_at", _DATETIME),
        sa.Column("last_checkpoint_number", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("queued", sa.Boolean(create_constraint=False), nullable=False, server_default="0"),
        sa.Column("queued_at", _DATETIME),
        sa.Column("queued_by", sa.String(255)),
        sa.Column("queued_reason", sa.String(1000)),
        sa.Column("queued_command_id", _key(64)),
        sa.Column("not_before", _DATETIME),
        sa.Column("pending_verb", sa.String(10)),
        sa.Column("pending_command_id", _key(64)),
        sa.Column("pending_since", _DATETIME),
        sa.Column("pending_deadline", _DATETIME),
        sa.Column("pending_accepted_at", _DATETIME),
        sa.Column("pending_actor", sa.String(255)),
        sa.Column("pending_reason", sa.String(1000)),
        sa.Column("labels", sa.JSON),
        sa.Column("unit_labels", sa.JSON),
        sa.Column("active_seconds", sa.Float(53), nullable=False, server_default="0"),
        sa.Column("paused_seconds", sa.Float(53), nullable=False, server_default="0"),
        sa.Column("status_changed_at", _DATETIME),
        sa.Column("run_budget_seconds", sa.Float(53)),
        sa.Column("deadline_at", _DATETIME),
        sa.Column("queue_timeout_seconds", sa.Float(53)),
        sa.Column("stall_timeout_seconds", sa.Float(53)),
        sa.Column("expires_at", _DATETIME),
        mysql_charset="utf8mb4",
    )
    op.create_index("idx_status", "tasks", ["status"])
    op.create_index("idx_created_at", "tasks", ["created_at"])
    op.create_index("idx_task_type", "tasks", ["task_type"])
    op.create_index("idx_claim", "tasks", ["status", "queued", sa.text("priority DESC"), "queued_at", "id"])
    op.create_index("idx_tasks_execution_unit_id", "tasks", ["execution_unit_id", "status"])
    op.create_index("idx_tasks_expires_at", "tasks", ["expires_at"])


def _create_history() -> None:
    op.create_table(
        "task_status_history",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("from_status", sa.String(50)),
        sa.Column("to_status", sa.String(50), nullable=False),
        sa.Column("changed_at", _TIMESTAMP, server_default=_now()),
        sa.Column("changed_by", sa.String(255)),
        sa.Column("reason", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_status_history_task_id", ondelete="CASCADE"),
        mysql_charset="utf8mb4",
    )
    op.create_index("idx_task_id", "task_status_history", ["task_id"])
    op.create_index("idx_changed_at", "task_status_history", ["changed_at"])


def _create_units() -> None:
    op.create_table(
        "execution_units",
        sa.Column("id", _key(255), primary_key=True),
        sa.Column("unit_type", sa.String(100), nullable=False),
        sa.Column("unit_name", sa.String(255), nullable=False),
        sa.Column(
            "status",
            sa.Enum("AVAILABLE", "BUSY", "OFFLINE", name="unit_status"),
            nullable=False,
            server_default="AVAILABLE",
        ),
        sa.Column("capacity", sa.Integer, server_default="1"),
        sa.Column("current_load", sa.Integer, server_default="0"),
        sa.Column("endpoint", sa.String(500)),
        sa.Column("config", sa.JSON),
        sa.Column("last_heartbeat", _TIMESTAMP),
        sa.Column("created_at", _TIMESTAMP, server_default=_now()),
        sa.Column("updated_at", _TIMESTAMP, server_default=_now(on_update=True)),
        sa.Column("task_types", sa.JSON),
        sa.Column("labels", sa.JSON),
        sa.Column("sdk", sa.String(100)),
        sa.Column("boot_id", sa.String(64)),
        mysql_charset="utf8mb4",
    )
    # Index names belong to the table in MySQL, to the database in SQLite, where tasks has this one already.
    name = "idx_status" if _is_mysql() else "idx_execution_units_status"
    op.create_index(name, "execution_units", ["status"])
    op.create_index("idx_unit_type", "execution_units", ["unit_type"])


def _create_checkpoints() -> None:
    op.create_table(
        "task_checkpoints",
        sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("data", sa.JSON),
        sa.Column("created_at", _DATETIME, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_checkpoints_task_id", ondelete="CASCADE"),
        mysql_charset="utf8mb4",
    )


def _create_commands() -> None:
    op.create_table(
        "task_commands",
        sa.Column("command_id", _key(64), primary_key=True),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("verb", sa.String(10), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("actor", sa.String(255)),
        sa.Column("reason", sa.String(1000)),
        sa.Column("issued_at", _DATETIME, nullable=False),
        sa.Column("accepted_at", _DATETIME),
        sa.Column("settled_at", _DATETIME),
        sa.Column("message", sa.Text),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_commands_task_id", ondelete="CASCADE"),
        mysql_charset="utf8mb4",
    )
    op.create_index("idx_task_commands_task_id", "task_commands", ["task_id", "issued_at"])


def _create_requests() -> None:
    op.create_table(
        "task_requests",
        sa.Column("request_id", _key(64), primary_key=True),
        sa.Column("method", sa.String(40), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("task_ids", sa.JSON, nullable=False),
        sa.Column("answer", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB, *_MYSQL)),
        sa.Column("created_at", _DATETIME, nullable=False),
        mysql_charset="utf8mb4",
    )
    op.create_index("idx_task_requests_created_at", "task_requests", ["created_at"])


def _create_id_blocks() -> None:
    table = op.create_table(
        "id_blocks",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("next_id", sa.BigInteger, nullable=False),
        mysql_charset="utf8mb4",
    )
    op.bulk_insert(
        table, [{"name": "task", "next_id": 1}, {"name": "revision", "next_id": 1}, {"name": "purged", "next_id": 0}]
    )


def _is_mysql() -> bool:
    return op.get_bind().dialect.name in _MYSQL


def _now(*, on_update: bool = False) -> sa.TextClause:
    if not _is_mysql():
        return sa.text("CURRENT_TIMESTAMP")
    return sa.text("CURRENT_TIMESTAMP(6)" + " ON UPDATE CURRENT_TIMESTAMP(6)" * on_update)
