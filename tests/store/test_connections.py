"""Reading and writing connections follow the same URL in the same way."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Connection, text
from support.databases import SERVERS

from taskplane.server.core.errors import DatabaseUnavailable
from taskplane.server.store.database import Database

pytestmark = pytest.mark.parametrize("database", SERVERS, indirect=True)

ENCRYPTED = {"ssl_check_hostname": "false"}


@asynccontextmanager
async def with_settings(database: Database, **settings: str) -> AsyncIterator[Database]:
    """Yield the same database by a URL with the given settings."""
    url = database.engine.url.set(query=settings)
    another = Database(url.render_as_string(hide_password=False))
    yield another
    await another.close()


def cipher(connection: Connection) -> str:
    """Return the cipher of the connection; empty without encryption."""
    return str(connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).one()[1])


async def test_both_are_encrypted_if_the_server_can(database: Database) -> None:
    async with with_settings(database) as default:
        assert bool(await default.read(cipher)) == bool(await default.write(cipher))
    async with with_settings(database, ssl_disabled="true") as plain:
        assert await plain.read(cipher) == await plain.write(cipher) == ""


async def test_required_encryption_is_used_or_the_connection_fails(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_settings(database) as default, with_settings(database, **ENCRYPTED) as demanding:
        for ask in (demanding.read, demanding.write):
            if await default.read(cipher):
                assert await ask(cipher)
            else:
                caplog.clear()
                with pytest.raises(DatabaseUnavailable):
                    await ask(cipher)
                assert re.search("SSL|TLS", caplog.text), "the log says why"


async def test_settings_of_one_driver_do_not_disturb_the_other(database: Database) -> None:
    async with with_settings(database, read_timeout="20") as patient:
        assert await patient.write(lambda connection: connection.execute(text("SELECT 1")).scalar_one()) == 1
