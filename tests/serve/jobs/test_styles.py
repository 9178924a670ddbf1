"""Words that are added to a prompt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overpaint.bundle.errors import UsageError
from overpaint.serve.jobs.styles import Styles, dress, read_styles

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
