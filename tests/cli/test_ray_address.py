"""`--ray` may be followed by an address, or by nothing."""

from __future__ import annotations

import pytest

from overpaint.cli.main import with_cluster


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("serve --ray", "serve --ray=local"),
        ("serve --ray --replicas 2", "serve --ray=local --replicas 2"),
        ("serve bundle --ray auto --replicas 2", "serve bundle --ray auto --replicas 2"),
        ("run in words -o out --ray 10.0.0.1:6379", "run in words -o out --ray 10.0.0.1:6379"),
        ("run in words --ray=auto -o out", "run in words --ray=auto -o out"),
    ],
)
def test_without_an_address_it_is_a_cluster_begun_here(typed: str, meant: str) -> None:
    assert with_cluster(typed.split()) == meant.split()
