"""The schema: migrations, metadata and requirements agree."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, Float, create_engine, inspect, text
from sqlalchemy.dialects.mysql import DOUBLE
from sqlalchemy.schema import SchemaItem
from support.databases import SERVERS

from taskplane.server.store import migrations
from taskplane.server.store.migrate import DatabaseNewer, migrate, missing_migrations
from taskplane.server.store.schema import metadata

# Copied from the requirements, section 5.
REQUIREMENTS = [
    """
    CREATE TABLE tasks (
        id BIGINT PRIMARY KEY AUTO_INCREMENT,
        task_name VARCHAR(255) NOT NULL,
        task_type VARCHAR(100) NOT NULL,
        status ENUM('PENDING', 'RUNNING', 'SUCCESS', 'FAILED', 'PAUSED', 'CANCELLED') NOT NULL DEFAULT 'PENDING',
        priority INT DEFAULT 0,
        config JSON,
        execution_unit_id VARCHAR(255),
        execution_unit_type VARCHAR(100),
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
        started_at TIMESTAMP NULL,
        completed_at TIMESTAMP NULL,
        error_message TEXT,
        retry_count INT DEFAULT 0,
        max_retries INT DEFAULT 3,
        INDEX idx_status (status),
        INDEX idx_created_at (created_at),
        INDEX idx_task_type (task_type)
    )
    """,
    """
    CREATE TABLE task_status_history (
        id BIGINT PRIMARY KEY AUTO_INCREMENT,
        task_id BIGINT NOT NULL,
        from_status VARCHAR(50),
        to_status VARCHAR(50) NOT NULL,
        changed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        changed_by VARCHAR(255),
        reason TEXT,
        FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE CASCADE,
        INDEX idx_task_id (task_id),
        INDEX idx_changed_at (changed_at)
    )
    """,
    """
    CREATE TABLE execution_units (
        id VARCHAR(255) PRIMARY KEY,
        unit_type VARCHAR(100) NOT NULL,
        unit_name VARCHAR(255) NOT NULL,
        status ENUM('AVAILABLE', 'BUSY', 'OFFLINE') NOT NULL DEFAULT 'AVAILABLE',
        capacity INT DEFAULT 1,
        current_load INT DEFAULT 0,
        endpoint VARCHAR(500),
        config JSON,
        last_heartbeat TIMESTAMP,
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
        INDEX idx_status (status),
        INDEX idx_unit_type (unit_type)
    )
    """,
]
TABLES = ("tasks", "task_status_history", "execution_units")
COLUMNS = text(
    "SELECT table_name, column_name, column_type, is_nullable, column_default, extra FROM information_schema.columns"
    " WHERE table_schema = DATABASE()"
)
INDEXES = text(
    "SELECT table_name, index_name, seq_in_index, column_name, non_unique FROM information_schema.statistics"
    " WHERE table_schema = DATABASE()"
)
FOREIGN_KEYS = text(
    "SELECT table_name, referenced_table_name, delete_rule FROM information_schema.referential_constraints"
    " WHERE constraint_schema = DATABASE()"
)


@pytest.fixture
def empty(empty_database_url: str) -> Engine:
    return create_engine(empty_database_url)


def downgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_up_and_down_and_up_again(empty: Engine) -> None:
    assert missing_migrations(empty)
    migrate(empty)
    assert missing_migrations(empty) is None
    assert tables(empty) == set(metadata.tables)
    downgrade(empty)
    assert tables(empty) == set()
    migrate(empty)
    assert tables(empty) == set(metadata.tables)
    empty.dispose()


@pytest.mark.parametrize("bring_up", [migrate, missing_migrations])
def test_a_database_migrated_by_a_newer_program_is_refused_with_advice(
    empty: Engine, bring_up: Callable[[Engine], object]
) -> None:
    migrate(empty)
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseNewer, match=r"9999, .*run the newer program .*or restore a backup") as refused:
        bring_up(empty)
    assert "--no-migrate" not in str(refused.value)
    empty.dispose()


def test_a_server_of_an_older_version_learns_of_the_migration(empty: Engine) -> None:
    """An older server checks the number of the last migration."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    with empty.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        number = text("SELECT next_id FROM id_blocks WHERE name = 'server'")
        before = connection.execute(number).scalar_one()
        command.upgrade(config, "head")
        assert connection.execute(number).scalar_one() != before
    empty.dispose()


def test_migrating_an_up_to_date_database_changes_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE id_blocks SET next_id = 77 WHERE name = 'task'"))
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT next_id FROM id_blocks WHERE name = 'task'")).scalar_one() == 77


def test_the_database_matches_the_metadata(engine: Engine) -> None:
    options = {"compare_type": differ, "include_object": is_comparable}
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def is_comparable(item: SchemaItem, name: str | None, kind: str, *_: object) -> bool:
    """Skip objects that Alembic cannot compare: the order in an index, and SQLite's name of the second idx_status."""
    return name not in {"idx_queue", "idx_status", "idx_execution_units_status"} or kind != "index"


def differ(_context: object, _column: object, _described: object, found: object, wanted: object) -> bool | None:
    """Treat FLOAT(53) as MySQL's DOUBLE; None leaves other types to Alembic."""
    return False if isinstance(found, DOUBLE) and isinstance(wanted, Float) else None


def described(engine: Engine) -> set[tuple[object, ...]]:
    """Describe the requirements' tables, without fractions of a second."""
    with engine.connect() as connection:
        rows = [
            ("foreign key" if query is FOREIGN_KEYS else "column" if query is COLUMNS else "index", *row)
            for query in (COLUMNS, INDEXES, FOREIGN_KEYS)
            for row in connection.execute(query)
        ]
    return {tuple(_without_fractions(value) for value in row) for row in rows if row[1] in TABLES}


def _without_fractions(value: object) -> object:
    return value.lower().replace("(6)", "").replace("()", "") if isinstance(value, str) else value


def drop_all(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in ("execution_units", "task_status_history", "tasks"):
            connection.execute(text(f"DROP TABLE {table}"))


@pytest.mark.parametrize("empty_database_url", SERVERS, indirect=True)  # the requirements are written for MySQL
def test_the_requirements_tables_exist_exactly(empty: Engine) -> None:
    with empty.begin() as connection:
        for table in REQUIREMENTS:
            connection.execute(text(table))
    required = described(empty)
    drop_all(empty)
    migrate(empty)
    assert required - described(empty) == set()
    assert len(required) > 40, "the comparison has compared something"
    empty.dispose()


def test_every_database_has_the_requirements_columns_and_indexes(engine: Engine) -> None:
    ours = inspect(engine)
    required = {
        "tasks": ("idx_status", "idx_created_at", "idx_task_type", "idx_queue"),
        "task_status_history": ("idx_task_id", "idx_changed_at"),
        "execution_units": ("idx_unit_type",),
    }
    for table, indexes in required.items():
        assert {index["name"] for index in ours.get_indexes(table)}.issuperset(indexes)
    (foreign_key,) = ours.get_foreign_keys("task_status_history")
    assert foreign_key["options"]["ondelete"] == "CASCADE"
