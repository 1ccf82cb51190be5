"""The tables: `tasks`, `task_status_history` and `execution_units` of the requirements, with more columns; and others.

One definition serves MySQL, MariaDB and SQLite. Times are UTC without a zone, with microseconds. Times of the
requirements are TIMESTAMP; added times are DATETIME, which does not end in 2038.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from taskplane.server.core.task import TaskStatus
from taskplane.server.core.unit import UnitStatus

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_MYSQL = ("mysql", "mariadb")
# SQLite assigns row ids only to INTEGER.
_ID = BigInteger().with_variant(Integer, "sqlite")
_TIMESTAMP = DateTime().with_variant(mysql.TIMESTAMP(fsp=6), *_MYSQL)
_DATETIME = DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
_BYTES = LargeBinary().with_variant(mysql.MEDIUMBLOB, *_MYSQL)
_NOW = text("CURRENT_TIMESTAMP")


def _key(length: int) -> TypeEngine[str]:
    """Return a type for identifiers, compared exactly. By default MySQL does not distinguish "a" from "A"."""
    exact = mysql.VARCHAR(length, collation="utf8mb4_bin")
    return String(length).with_variant(exact, *_MYSQL)


def _status(kind: type[TaskStatus] | type[UnitStatus], name: str) -> TypeEngine[str]:
    return Enum(*(each.value for each in kind), name=name)


tasks = Table(
    "tasks",
    metadata,
    # The requirements' columns.
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("task_name", String(255), nullable=False),
    Column("task_type", _key(100), nullable=False),
    Column("status", _status(TaskStatus, "task_status"), nullable=False, server_default=TaskStatus.PENDING),
    Column("priority", Integer, server_default="0"),
    Column("config", JSON),
    Column("execution_unit_id", _key(255)),
    Column("execution_unit_type", String(100)),
    Column("created_at", _TIMESTAMP, server_default=_NOW),
    Column("updated_at", _TIMESTAMP, server_default=_NOW),
    Column("started_at", _TIMESTAMP),
    Column("completed_at", _TIMESTAMP),
    Column("error_message", Text),
    Column("retry_count", Integer, server_default="0"),
    Column("max_retries", Integer, server_default="3"),
    # Ours.
    Column("result", JSON),
    Column("revision", BigInteger, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("accepted_at", _DATETIME),
    Column("progress", Float(53)),
    Column("progress_message", String(1000)),
    Column("progress_at", _DATETIME),
    Column("checkpoint_number", BigInteger),
    Column("checkpoint_attempt", Integer),
    Column("checkpoint_at", _DATETIME),
    Column("last_checkpoint_number", BigInteger, nullable=False, server_default="0"),
    # Whether `queued_at` is set. The queue's index needs this column in front of the priority.
    Column("queued", Boolean(create_constraint=False), nullable=False, server_default="0"),
    Column("queued_at", _DATETIME),
    Column("queued_by", String(255)),
    Column("queued_reason", String(1000)),
    Column("queued_command_id", _key(64)),
    Column("queued_checkpoint_number", BigInteger),
    Column("not_before", _DATETIME),
    Column("pending_verb", String(10)),
    Column("pending_command_id", _key(64)),
    Column("pending_since", _DATETIME),
    Column("pending_deadline", _DATETIME),
    Column("pending_accepted_at", _DATETIME),
    Column("pending_actor", String(255)),
    Column("pending_reason", String(1000)),
    Column("labels", JSON),
    Column("unit_labels", JSON),
    Column("active_seconds", Float(53), nullable=False, server_default="0"),
    Column("paused_seconds", Float(53), nullable=False, server_default="0"),
    Column("status_changed_at", _DATETIME),
    Column("run_budget_seconds", Float(53)),
    Column("deadline_at", _DATETIME),
    Column("queue_timeout_seconds", Float(53)),
    Column("stall_timeout_seconds", Float(53)),
    # Time when the next limit expires; see core.limits.
    Column("expires_at", _DATETIME),
    Index("idx_status", "status"),
    Index("idx_created_at", "created_at"),
    Index("idx_task_type", "task_type"),
    # Without the status: transitions of unqueued tasks do not change the index.
    Index("idx_queue", "queued", text("priority DESC"), "queued_at", "id"),
    Index("idx_tasks_execution_unit_id", "execution_unit_id", "status"),
    Index("idx_tasks_expires_at", "expires_at"),
    mysql_charset="utf8mb4",
)

task_status_history = Table(
    "task_status_history",
    metadata,
    # The id is the task's new revision: unique over all tasks, ordered by commit.
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("task_id", BigInteger, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("from_status", String(50)),
    Column("to_status", String(50), nullable=False),
    Column("changed_at", _TIMESTAMP, server_default=_NOW),
    Column("changed_by", String(255)),
    Column("reason", Text),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Index("idx_task_id", "task_id"),
    Index("idx_changed_at", "changed_at"),
    mysql_charset="utf8mb4",
)

execution_units = Table(
    "execution_units",
    metadata,
    # The requirements' columns.
    Column("id", _key(255), primary_key=True),
    Column("unit_type", String(100), nullable=False),
    Column("unit_name", String(255), nullable=False),
    Column("status", _status(UnitStatus, "unit_status"), nullable=False, server_default=UnitStatus.AVAILABLE),
    Column("capacity", Integer, server_default="1"),
    Column("current_load", Integer, server_default="0"),
    Column("endpoint", String(500)),
    Column("config", JSON),
    Column("last_heartbeat", _TIMESTAMP),
    Column("created_at", _TIMESTAMP, server_default=_NOW),
    Column("updated_at", _TIMESTAMP, server_default=_NOW),
    # Ours.
    Column("task_types", JSON),
    Column("labels", JSON),
    Column("sdk", String(100)),
    # The last connected process.
    Column("boot_id", String(64)),
    # The operator's drain order; NULL without one.
    Column("drain", JSON(none_as_null=True)),
    # The requirements' name. In SQLite, whose index names are global, the name is idx_execution_units_status.
    Index("idx_status", "status"),
    Index("idx_unit_type", "unit_type"),
    mysql_charset="utf8mb4",
)

task_checkpoints = Table(
    "task_checkpoints",
    metadata,
    Column("task_id", BigInteger, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("data", JSON),
    Column("created_at", _DATETIME, nullable=False),
    mysql_charset="utf8mb4",
)

# The command log: pause, resume and cancel.
task_commands = Table(
    "task_commands",
    metadata,
    Column("command_id", _key(64), primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("verb", String(10), nullable=False),
    Column("state", String(10), nullable=False),
    Column("actor", String(255)),
    Column("reason", String(1000)),
    Column("issued_at", _DATETIME, nullable=False),
    Column("accepted_at", _DATETIME),
    Column("settled_at", _DATETIME),
    Column("message", Text),
    Index("idx_task_commands_task_id", "task_id", "issued_at"),
    mysql_charset="utf8mb4",
)

# Tombstones of deleted tasks, for watches that resume. Old rows are deleted.
deleted_tasks = Table(
    "deleted_tasks",
    metadata,
    # The revision of the deletion.
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("task_id", BigInteger, nullable=False),
    Column("task_type", _key(100), nullable=False),
    Column("deleted_at", _DATETIME, nullable=False),
    Index("idx_deleted_tasks_deleted_at", "deleted_at"),
    mysql_charset="utf8mb4",
)

# Calls with idempotency keys and their responses, for replays. Old rows are deleted.
task_requests = Table(
    "task_requests",
    metadata,
    Column("request_id", _key(64), primary_key=True),
    Column("method", String(40), nullable=False),
    # SHA-256 of the request's body: a repeat with another body is an error.
    Column("fingerprint", String(64), nullable=False),
    Column("task_ids", JSON, nullable=False),
    # The command issued by the call; NULL without a command.
    Column("command_id", _key(64)),
    # The response, a serialized message; NULL before the response, and for responses too long to store.
    Column("answer", _BYTES),
    Column("created_at", _DATETIME, nullable=False),
    Index("idx_task_requests_created_at", "created_at"),
    mysql_charset="utf8mb4",
)

# Blocks of ids and revisions: every id is known before its INSERT, on every database.
id_blocks = Table(
    "id_blocks",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("next_id", BigInteger, nullable=False),
    mysql_charset="utf8mb4",
)

# The server that decides about tasks. One row today, later one for each partition of the tasks.
owners = Table(
    "owners",
    metadata,
    Column("name", _key(64), primary_key=True),
    # Grows with every take-over. Each writing transaction checks the epoch; see store.ownership.
    Column("epoch", BigInteger, nullable=False),
    # Random name of the server process, and part of the names of its sessions' locks.
    Column("instance", _key(64), nullable=False),
    # The server's gRPC address and process, for operators.
    Column("address", String(300), nullable=False),
    Column("process", String(300), nullable=False),
    Column("taken_at", _DATETIME),
    Column("renewed_at", _DATETIME),
    Column("lease_until", _DATETIME),
    mysql_charset="utf8mb4",
)
