"""Emphasis is read as AUTOMATIC1111's users type it, and whatever is typed is read."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint.runtime.text.weights import LIMIT, Part, emphasise, escape, parse

PIECES = [*"ab :.,1-()[]\\\n", "BREAK", ":1.2)", "(("]
TYPED = st.lists(st.sampled_from(PIECES)).map("".join)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("", []),
        ("a castle", [("a castle", 1)]),
        ("a (castle)", [("a ", 1), ("castle", 1.1)]),
        ("a ((castle))", [("a ", 1), ("castle", 1.21)]),
        ("a (castle:1.4)", [("a ", 1), ("castle", 1.4)]),
        ("a (castle: 0.5 ) here", [("a ", 1), ("castle", 0.5), (" here", 1)]),
        ("a (castle:.5)", [("a ", 1), ("castle", 0.5)]),
        ("(castle:0)", [("castle", 0)]),
        ("(castle:-1)", [("castle", -1)]),
        ("a [castle]", [("a ", 1), ("castle", 1 / 1.1)]),
        ("[[castle]]", [("castle", 1 / 1.21)]),
        ("([castle])", [("castle", 1)]),
        ("(a (b:1.5) c)", [("a ", 1.1), ("b", 1.65), (" c", 1.1)]),
        ("((a:1.5) b:2)", [("a", 3), (" b", 2)]),
        ("[(a:1.1)]", [("a", 1)]),
        ("(a castle, stone:1.2)", [("a castle, stone", 1.2)]),
        (r"castle \(ruin\)", [("castle (ruin)", 1)]),
        (r"(castle \(ruin\):1.2)", [("castle (ruin)", 1.2)]),
        (r"\[x\] \\", [("[x] \\", 1)]),
        (r"a\b", [(r"a\b", 1)]),
        ("open (to the end", [("open ", 1), ("to the end", 1.1)]),
        ("open [to the end", [("open ", 1), ("to the end", 1 / 1.1)]),
        ("never opened) here]", [("never opened) here]", 1)]),
        ("never opened:1.2)", [("never opened:1.2)", 1)]),
        ("ratio 16:9, (x)", [("ratio 16:9, ", 1), ("x", 1.1)]),
        ("(ratio 16:9)", [("ratio 16", 9)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("[a:1.2]", [("a:1.2", 1 / 1.1)]),
        ("()", []),
        ("(a:99999)", [("a", LIMIT)]),
    ],
)
def test_emphasis_is_read_as_it_is_typed(prompt: str, parts: list[tuple[str, float]]) -> None:
    [section] = parse(prompt)
    assert [part.text for part in section] == [text for text, _ in parts]
    assert [part.weight for part in section] == pytest.approx([weight for _, weight in parts])


def test_break_begins_a_section_and_keeps_the_emphasis_around_it() -> None:
    assert parse("a sea BREAK a sky") == ((Part("a sea"),), (Part("a sky"),))
    assert parse("(a:1.2\nBREAK\nb:1.5)") == ((Part("a:1.2", 1.5),), (Part("b", 1.5),))
    assert parse("BREAK a") == ((), (Part("a"),))
    assert parse("a BREAK") == ((Part("a"),),)
    assert parse("BREAKFAST, a break") == ((Part("BREAKFAST, a break"),),)


@given(TYPED)
def test_whatever_is_typed_is_read_and_its_words_are_kept(prompt: str) -> None:
    parts = [part for section in parse(prompt) for part in section]
    assert all(part.text and abs(part.weight) <= LIMIT for part in parts)
    read = "".join(part.text for part in parts)
    assert read.count("a") == prompt.count("a")
    assert read.count("b") == prompt.count("b")
    for section in parse(prompt):
        neighbours = itertools.pairwise(section)
        assert all(left.weight != right.weight for left, right in neighbours)


@given(st.text().filter(lambda text: "BREAK" not in text))
def test_what_is_escaped_comes_back_as_it_was(text: str) -> None:
    assert parse(escape(text)) == (((Part(text),) if text else ()),)


@given(TYPED.filter(lambda text: "BREAK" not in text), st.floats(0.01, 3))
def test_a_part_written_with_its_weight_reads_as_itself(text: str, weight: float) -> None:
    written = f"({escape(text)}:{weight:.6f})"
    [section] = parse(written)
    expected = [(text, pytest.approx(round(weight, 6)))] if text else []
    assert [(part.text, part.weight) for part in section] == expected


@pytest.mark.parametrize("typed", ["(", "(a", "[a", ")", "\\", "(a:1.2)", "((((a)"])
def test_a_hundred_thousand_characters_are_read_in_a_moment(typed: str) -> None:
    started = time.process_time()
    parse(typed * (100_000 // len(typed)))
    assert time.process_time() - started < 5


def test_emphasis_keeps_the_mean_and_a_weight_of_one_changes_nothing() -> None:
    hidden = np.random.default_rng(0).normal(0.1, 1, (1, 6, 8)).astype(np.float32)
    assert emphasise(hidden, np.ones(6, np.float32)) is hidden
    weights = np.array([1, 1, 1.5, 0.5, 1, 1], np.float32)
    louder = emphasise(hidden, weights)
    assert louder.mean() == pytest.approx(hidden.mean(), rel=1e-5)
    ratio = louder / hidden
    assert (ratio[0, 2] / ratio[0, 0]) == pytest.approx(1.5, rel=1e-5)
    assert (ratio[0, 3] / ratio[0, 0]) == pytest.approx(0.5, rel=1e-5)
    assert louder.dtype == np.float32
    silent = emphasise(hidden, np.zeros(6, np.float32))
    assert not silent.any()
