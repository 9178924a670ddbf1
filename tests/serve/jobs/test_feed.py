"""Small parts on their own: feeds, styles, sizes in bytes, the command's arguments."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint.bundle.errors import UsageError
from overpaint.runtime.settings import Settings
from overpaint.serve import command
from overpaint.serve.api.native.schema import JobRequest
from overpaint.serve.jobs.engines.bundles import parse_bytes
from overpaint.serve.jobs.engines.times import Pace, seconds
from overpaint.serve.jobs.feed import Feed
from overpaint.serve.jobs.protocol import Request
from overpaint.serve.jobs.providers.remote import as_json
from overpaint.serve.jobs.styles import Styles, dress, read_styles


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


def test_the_pace_follows_what_was_measured_last() -> None:
    slow, fast = Pace(job=10, step=1, other=0.5), Pace(job=2, step=0.2, other=0.1)
    assert slow.then(fast).job == pytest.approx(8.4)
    assert seconds(slow, 3) == 30
    assert seconds(None, 2) == 10


def test_every_setting_of_the_runtime_can_be_asked_for_and_handed_on() -> None:
    """One that the API did not know would be refused by every server that is fallen back to."""
    everything = Settings(
        preset="fast",
        steps=7,
        steps_mode="exact",
        guidance_scale=3.0,
        guidance_rescale=0.5,
        negative_prompt="fog",
        sampler="euler",
        sigmas="karras",
        eta=0.2,
        denoising_start=0.1,
        denoising_end=0.9,
        seed=5,
        rng="numpy",
        n=2,
        size=(64, 48),
        resize="crop",
        max_sequence_length=512,
        prompt_chunks=True,
        prompt_weights=True,
    )
    # What denoising_start has the say over.
    others = [Settings(strength=0.3), Settings(reference_strength=0.4), Settings(mode="modify")]
    unchanged = {
        field.name
        for field in fields(Settings)
        if all(getattr(one, field.name) == field.default for one in (everything, *others))
    }
    assert not unchanged, "give these a value here"
    for settings in (everything, *others):
        body = as_json(Request(model="fake", prompt="red", settings=settings))
        assert JobRequest.model_validate(body).settings() == settings


STYLES = Styles(prompt={"lighting": "soft light", "mood": ""}, negative_prompt="blurry")


def test_styles_join_in_modify_mode_alone() -> None:
    assert dress(STYLES, None, "modify", "a house", None) == ("a house, soft light", "blurry")
    assert dress(STYLES, None, "modify", "a house", "dark") == ("a house, soft light", "dark")
    for mode in ("copy", None):
        assert dress(STYLES, None, mode, "a house", None) == ("a house", None)
    assert dress(STYLES, {"x": "y"}, "modify", "", None) == ("y", None)
    assert dress(STYLES, {}, "copy", "a", None) == ("a", None)
    with pytest.raises(UsageError, match="copy"):
        dress(STYLES, {"x": "y"}, "copy", "a", None)


def test_the_default_negative_prompt_is_short() -> None:
    assert len((Styles().negative_prompt or "").split(",")) <= 3


def test_the_operator_may_bring_another_table(folder: Path) -> None:
    table = folder / "styles.json"
    table.write_text(json.dumps({"prompt": {"tone": "warm"}, "negative_prompt": None}))
    assert read_styles(table) == Styles(prompt={"tone": "warm"}, negative_prompt=None)
    for wrong in ("{", "[]", '{"prompts": {}}', '{"prompt": {"a": 1}}', '{"negative_prompt": 1}'):
        table.write_text(wrong)
        with pytest.raises(UsageError, match=r"styles\.json"):
            read_styles(table)
    with pytest.raises(UsageError):
        read_styles(folder / "none.json")


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8 * 10**9), ("8 GiB", 8 * 2**30), ("1.5g", 15 * 10**8), ("512MB", 512 * 10**6),
     ("100", 100)],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "eight", "1TBx", "inf"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="--memory-budget"):
        parse_bytes(text)


def test_results_go_to_the_users_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert command.state_folder() == Path("/home/somebody/.local/state/overpaint/results")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert command.state_folder() == Path("/var/state/overpaint/results")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME")
    assert command.state_folder() is None


def test_a_command_that_cannot_work_says_so_in_one_line() -> None:
    with pytest.raises(UsageError, match="--token"):
        command.serve(host="0.0.0.0")
    with pytest.raises(UsageError, match="--queue"):
        command.serve(queue=0)
