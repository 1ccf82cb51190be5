"""Brings a database to the schema of this version."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine


def migrate(engine: Engine) -> None:
    """Apply every migration that is missing. Does nothing to a database that is up to date."""
    with engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def missing_migrations(engine: Engine) -> str | None:
    """Describe how far the database is behind (`at …, needs …`), or None if it is up to date."""
    with engine.connect() as connection:
        have = MigrationContext.configure(connection).get_current_revision()
    need = ScriptDirectory.from_config(_config()).get_current_head()
    return None if have == need else f"at {have}, needs {need}"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
