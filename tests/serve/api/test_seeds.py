"""Seeds of 64 bits reach clients whose numbers have 53: as strings, where they ask for that."""

from __future__ import annotations

import json
from pathlib import Path

from tests.serve.engine import fake_served
from tests.serve.running import serving
from websockets.sync.client import connect

from overpaint.serve.config import Config

LARGE = 2**64 - 1


def test_seeds_are_strings_where_a_client_asks_for_that(folder: Path) -> None:
    with serving(Config(port=0), [fake_served(folder)]) as server:
        varied = {"variation_seed": LARGE, "variation_strength": 0.5}
        job = server.submit(size="64x64", steps=1, seed=LARGE, **varied)["id"]
        plain = server.ended(job)["result"]
        for asked, seed in (
            ("", LARGE),
            ("?seeds_as=number", LARGE),
            ("?seeds_as=string", str(LARGE)),
        ):
            [listed] = server.client.get(f"/v1/jobs{asked}").json()
            looked = server.client.get(f"/v1/jobs/{job}{asked}").json()
            removed = server.client.delete(f"/v1/jobs/{job}{asked}").json()
            url = f"{server.url.replace('http', 'ws')}/v1/jobs/{job}/events{asked}"
            with connect(url, proxy=None) as events:
                last = json.loads(events.recv())
            for result in (listed["result"], looked["result"], removed["result"]):
                assert result["seeds"] == last["seeds"] == [seed]
                told = result["settings"]
                assert (told["seed"], told["variation_seed"]) == (seed, seed)
                assert {**told, "seed": LARGE, "variation_seed": LARGE} == plain["settings"]
        assert server.client.get(f"/v1/jobs/{job}?seeds_as=text").status_code == 422
