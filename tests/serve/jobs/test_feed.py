"""The newest event, for readers at any speed."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from overpaint.serve.jobs.feed import Feed


def test_a_slow_reader_of_a_feed_skips_to_the_newest_and_never_misses_the_end() -> None:
    async def scene() -> list[tuple[int, int]]:
        feed: Feed[int] = Feed()
        reader = feed.follow()
        seen = []
        for event in range(100):
            feed.publish(event)
            if event % 10 == 9:  # it reads once while ten are published
                seen.append(await anext(reader))
        feed.publish(100)
        feed.publish(101, last=True)
        return seen + [one async for one in reader]

    newest = [(number, number - 1) for number in range(10, 101, 10)]
    assert asyncio.run(scene()) == [*newest, (102, 101)]


def test_a_reader_that_waits_is_woken_by_what_comes() -> None:
    async def scene() -> list[tuple[int, str]]:
        feed: Feed[str] = Feed()
        reader = feed.follow()
        seen = []
        for event, last in (("a", False), ("end", True)):
            waiting = asyncio.ensure_future(anext(reader))
            await asyncio.sleep(0)  # lets it run until it waits
            assert not waiting.done()
            feed.publish(event, last=last)
            seen.append(await waiting)
        return seen

    assert asyncio.run(scene()) == [(1, "a"), (2, "end")]


def test_after_its_end_a_feed_takes_nothing_and_tells_the_end_to_whoever_comes() -> None:
    async def scene() -> None:
        feed: Feed[str] = Feed()
        feed.publish("a")
        assert feed.publish("end", last=True)
        assert not feed.publish("again", last=True)
        for after in (0, 1, 2, 99):
            assert [one async for one in feed.follow(after)] == [(2, "end")]
        await feed.end()

    asyncio.run(scene())


@given(st.lists(st.integers(), min_size=1, max_size=30), st.integers(0, 40))
def test_a_reader_that_comes_back_sees_what_is_newer(events: list[int], after: int) -> None:
    async def scene() -> None:
        feed: Feed[int] = Feed()
        for event in events[:-1]:
            feed.publish(event)
        feed.publish(events[-1], last=True)
        seen = [one async for one in feed.follow(after)]
        assert seen == [(len(events), events[-1])]

    asyncio.run(scene())
