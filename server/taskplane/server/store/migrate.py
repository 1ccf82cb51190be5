"""Migration of a database to the schema of this version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine


class DatabaseNewer(Exception):
    """A newer program has migrated the database; the message says what to do."""


def migrate(engine: Engine) -> None:
    """Apply all missing migrations. Raises DatabaseNewer."""
    with engine.connect() as connection:
        config = _config()
        _check_known(connection, config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def missing_migrations(engine: Engine) -> str | None:
    """Describe how far the database is behind (`at …, needs …`), or None if it is up to date. Raises DatabaseNewer."""
    with engine.connect() as connection:
        have = _check_known(connection, _config())
    need = ScriptDirectory.from_config(_config()).get_current_head()
    return None if have == need else f"at {have}, needs {need}"


def _check_known(connection: Connection, config: Config) -> str | None:
    """Return the last migration of the database. Raises DatabaseNewer."""
    have = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(config)
    if have is not None and have not in {script.revision for script in scripts.walk_revisions()}:
        raise DatabaseNewer(
            f"the database is at migration {have}, but this program knows none after {scripts.get_current_head()}: "
            "run the newer program that has migrated it, or restore a backup from before"
        )
    return have


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
