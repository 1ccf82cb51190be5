"""The renewal of the lease: an unresponsive database shows at once, a slow success does not."""

import asyncio

import pytest
from sqlalchemy import Connection
from sqlalchemy.util import await_only
from support.builders import PATIENCE_SECONDS
from support.writer import CountingStore

from taskplane.server.core.tuning import Tuning
from taskplane.server.store.ownership import read_owner
from taskplane.server.store.ownership_renewal import OwnershipRenewal


@pytest.fixture
def shown() -> list[str]:
    """Collect the reasons of the outage, after each renewal."""
    return []


@pytest.fixture
def renewal(store: CountingStore, shown: list[str], tuning: Tuning) -> OwnershipRenewal:
    async def show(outage: str) -> None:
        shown.append(outage)

    return OwnershipRenewal(store._database, show, tuning)


async def test_a_renewal_is_stored(store: CountingStore, renewal: OwnershipRenewal, shown: list[str]) -> None:
    before = await store._database.read(read_owner)
    await renewal.renew()
    after = await store._database.read(read_owner)
    assert after.renewed_at
    assert after.renewed_at != before.renewed_at
    assert shown == [""]


@pytest.mark.parametrize("tuning", [Tuning(renewal_response_seconds=0.05, late_response_seconds=0.05)])
async def test_a_slow_renewal_shows_until_it_ends(
    store: CountingStore, renewal: OwnershipRenewal, shown: list[str]
) -> None:
    may_end = asyncio.Event()

    def hold(_: Connection) -> None:
        await_only(asyncio.wait_for(may_end.wait(), PATIENCE_SECONDS))

    holding = asyncio.create_task(store._database.write(hold))
    await asyncio.sleep(0)  # begun before the renewal
    renewing = asyncio.create_task(renewal.renew())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not shown:  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.01)
    assert "no answer within" in shown[0]
    may_end.set()
    await holding
    await renewing
    assert shown[-1] == ""
