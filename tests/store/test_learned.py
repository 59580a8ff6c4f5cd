"""What was learned: counts that all processes share, versions, and the way back."""

import asyncio

import pytest

from neuroroute.store.learned import CHANNEL, KEPT, Cell, Counts, Learned, LearnedChanged
from neuroroute.store.postgres import Database

CODE, CHAT = Cell("p/small", "code", 2), Cell("p/small", "chat", 0)


async def test_counts_of_many_writers_add_up(database: Database) -> None:
    learned = Learned(database)
    await learned.add({})
    await asyncio.gather(*(Learned(database).add({CODE: Counts(1.0, 0.5), CHAT: Counts(0.25, 0.0)}) for _ in range(8)))
    version, counts = await learned.current()
    assert version is None
    assert counts == {CODE: Counts(8.0, 4.0), CHAT: Counts(2.0, 0.0)}


async def test_old_evidence_fades_and_an_opinion_can_be_taken_back(database: Database) -> None:
    learned = Learned(database)
    await learned.add({CODE: Counts(KEPT, 0.0)})
    await learned.add({CODE: Counts(0.0, 100.0)})
    _, counts = await learned.current()
    assert counts[CODE] == Counts(pytest.approx(KEPT - 100), 100.0)  # type: ignore[comparison-overlap]
    await learned.add({CHAT: Counts(1.0, 0.0)})
    await learned.add({CHAT: Counts(-1.0, 1.0)})
    _, counts = await learned.current()
    assert counts[CHAT] == Counts(0.0, 1.0)


async def test_a_promotion_begins_without_counts_and_the_way_back_brings_them_again(database: Database) -> None:
    learned = Learned(database)
    heard: list[str] = []
    ready = asyncio.Event()
    stop = database.listen(CHANNEL, heard.append, ready.set)
    await asyncio.wait_for(ready.wait(), 5)
    await learned.add({CODE: Counts(3.0, 1.0)})
    first = await learned.promote({"p/small": {"code": 0.8}}, {"regret": 0.1}, after=0)
    assert await learned.current() == (first, {})
    await learned.add({CODE: Counts(1.0, 0.0)})
    with pytest.raises(LearnedChanged):
        await learned.promote({}, {}, after=0)
    second = await learned.promote({"p/small": {"code": 0.1}}, {}, after=1)
    await learned.add({CODE: Counts(0.0, 9.0)})
    third = await learned.roll_back(1)
    version, counts = await learned.current()
    assert version == third and (third.version, third.origin, third.priors) == (3, "rollback", first.priors)
    assert counts == {CODE: Counts(1.0, 0.0)}, "as they were when the second version came"
    forgotten = await learned.roll_back(0)
    assert await learned.current() == (forgotten, {}) and forgotten.priors == {}
    with pytest.raises(LookupError):
        await learned.roll_back(9)
    assert [one.version for one in await learned.versions()] == [4, 3, 2, 1] and await learned.get(2) == second
    for _ in range(100):
        if len(heard) == 4:
            break
        await asyncio.sleep(0.02)
    assert heard == ["1", "2", "3", "4"]
    stop()
