"""Held-out scenes on their way to another season at another time of day, by the shipped bundle:
what the tests state and the model card quotes. `python -m pocket.journeys` prints every figure.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from overpaint.runtime import Control, Img2Img
from overpaint.runtime.image.compare import psnr
from pocket.classify import edge_correlation, gradient_energy, season_and_time
from pocket.classify import style as style_of
from pocket.painter import paint
from pocket.scene import SEASONS, STYLES, TIMES, Scene, Season, Style, Time, held_out_scene

Picture = NDArray[np.uint8]
COUNT = 32
STEPS = 10
GUIDED = 1.5
"""Guidance for a negative prompt, which has no say without."""
STYLE_WORDS: dict[Style, str] = {"poster": "flat poster", "watercolour": "watercolour"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """A painted scene, and the one that the prompt asks for: the same place, repainted."""

    origin: Scene
    goal: Scene
    seed: int

    @property
    def prompt(self) -> str:
        return f"{self.goal.season} {self.goal.land} at {self.goal.time}"


def _journey(index: int) -> Journey:
    """Every season leads to every other one, every time of day to every other."""
    origin = held_out_scene(index)
    season = SEASONS[(SEASONS.index(origin.season) + 1 + index % 3) % 4]
    time = TIMES[(TIMES.index(origin.time) + 1 + index % 2) % 3]
    return Journey(origin=origin, goal=replace(origin, season=season, time=time), seed=index)


JOURNEYS = tuple(_journey(index) for index in range(COUNT))


@cache
def towards(season: Season, time: Time) -> tuple[Journey, ...]:
    """Eight more places, all on their way to one season and time of day."""
    journeys = []
    for k in range(8):
        goal = replace(held_out_scene(COUNT + k), season=season, time=time)
        origin = replace(
            goal,
            season=SEASONS[(SEASONS.index(season) + 1 + k % 3) % 4],
            time=TIMES[(TIMES.index(time) + 1 + k % 2) % 3],
        )
        journeys.append(Journey(origin=origin, goal=goal, seed=COUNT + k))
    return tuple(journeys)


@cache
def pipe() -> Img2Img:
    """The embedded model, opened once."""
    return Img2Img.open(device="cpu")


@cache
def steered() -> Img2Img:
    """The same, beside the control network that keeps edges."""
    return Img2Img.open(device="cpu", control=["edges"])


@cache
def kept(journey: Journey, strength: float) -> Picture:
    """The journey's picture at a strength, its edges kept by the control network."""
    result = steered()(
        Image.fromarray(paint(journey.origin)),
        journey.prompt,
        strength=strength,
        steps=STEPS,
        seed=journey.seed,
        control={"edges": Control(preprocessor="canny")},
    )
    return np.asarray(result.images[0].convert("RGB"))


@cache
def repainted(
    journey: Journey,
    strength: float,
    prompt: str | None = None,
    guidance: float | None = None,
    negative: str | None = None,
    calls: int | None = None,
) -> Picture:
    """The journey's picture at a strength, with its own prompt where none is given. `calls` of the
    denoiser by a consistency model's sampler; absent, what strength leaves of `STEPS`."""
    few: dict[str, Any] = {} if calls is None else {"sampler": "tcd", "steps_mode": "lcm"}
    result = pipe()(
        Image.fromarray(paint(journey.origin)),
        journey.prompt if prompt is None else prompt,
        strength=strength,
        steps=STEPS if calls is None else calls,
        **few,
        guidance_scale=guidance,
        negative_prompt=negative,
        seed=journey.seed,
    )
    return np.asarray(result.images[0].convert("RGB"))


def mean(measure: Callable[[Journey], float]) -> float:
    """A measure's mean over all journeys."""
    return float(np.mean([measure(journey) for journey in JOURNEYS]))


def round_trip(style: Style) -> float:
    """Mean PSNR of strength 0 over the scenes painted in one style."""
    at_home = [j for j in JOURNEYS if j.origin.style == style]
    return float(np.mean([psnr(paint(j.origin), repainted(j, 0.0)) for j in at_home]))


def distance(strength: float, calls: int | None = None) -> float:
    """Mean over journeys of the root mean squared difference from the input, 0 to 255."""

    def one(j: Journey) -> float:
        difference = paint(j.origin).astype(float) - repainted(j, strength, calls=calls)
        return float(np.sqrt(np.square(difference).mean()))

    return mean(one)


def arrived(strength: float, calls: int | None = None) -> tuple[float, float]:
    """Shares of journeys whose season, and whose time of day, is the prompt's."""
    found = [season_and_time(repainted(j, strength, calls=calls)) for j in JOURNEYS]
    seasons = [season == j.goal.season for (season, _), j in zip(found, JOURNEYS, strict=True)]
    times = [time == j.goal.time for (_, time), j in zip(found, JOURNEYS, strict=True)]
    return float(np.mean(seasons)), float(np.mean(times))


def outline(strength: float, calls: int | None = None) -> float:
    """Mean correlation of the outlines near the skyline with the input's."""
    return mean(
        lambda j: edge_correlation(paint(j.origin), repainted(j, strength, calls=calls), j.origin)
    )


def outline_kept(strength: float) -> float:
    """As `outline`, with the control network."""
    return mean(lambda j: edge_correlation(paint(j.origin), kept(j, strength), j.origin))


def arrived_kept(strength: float) -> tuple[float, float]:
    """As `arrived`, with the control network."""
    found = [season_and_time(kept(j, strength)) for j in JOURNEYS]
    both = [
        (season == j.goal.season, time == j.goal.time)
        for (season, time), j in zip(found, JOURNEYS, strict=True)
    ]
    seasons, times = zip(*both, strict=True)
    return float(np.mean(seasons)), float(np.mean(times))


def in_style(journey: Journey, style: Style, strength: float, calls: int | None = None) -> Picture:
    """The journey's picture where the prompt names a style too."""
    return repainted(journey, strength, f"{journey.prompt}, {STYLE_WORDS[style]}", calls=calls)


def styled(style: Style, strength: float, calls: int | None = None) -> float:
    """Share of journeys whose picture is in `style` where the prompt names it."""
    return mean(lambda j: float(style_of(in_style(j, style, strength, calls)) == style))


def outline_in_other_style(strength: float) -> float:
    """As `outline`, where the prompt names the style that the input is not in."""

    def one(j: Journey) -> float:
        other = STYLES[1 - STYLES.index(j.origin.style)]
        return edge_correlation(paint(j.origin), in_style(j, other, strength), j.origin)

    return mean(one)


def crispness(season: Season, time: Time, strength: float, calls: int | None = None) -> float:
    """Gradient energy of repaintings into one season and time, by that of the painter's own
    pictures of the same places: 1 is as crisp as painted."""
    journeys = towards(season, time)
    made = sum(gradient_energy(repainted(j, strength, calls=calls)) for j in journeys)
    return made / sum(gradient_energy(paint(j.goal)) for j in journeys)


def colour_error(a: Picture, b: Picture) -> float:
    """Mean difference of colours where outlines matter little: of 8x8 mean patches, 0 to 255."""
    small = [
        p.reshape(16, p.shape[0] // 16, 16, p.shape[1] // 16, 3).mean(axis=(1, 3)) for p in (a, b)
    ]
    return float(np.abs(small[0] - small[1]).mean())


def disagreement(strength: float, guidance: float) -> float:
    """Mean colour error against the scene that the prompt asks for, as painted."""
    return mean(lambda j: colour_error(paint(j.goal), repainted(j, strength, guidance=guidance)))


def driven_away(strength: float) -> float:
    """Share of pictures farther in colour from the input once the negative prompt names what
    the input shows. The prompt itself names the land alone."""

    def one(j: Journey) -> float:
        home = paint(j.origin)
        names = f"{j.origin.season} {j.origin.time}"
        plain, against = (
            repainted(j, strength, j.origin.land, GUIDED, negative) for negative in (None, names)
        )
        return float(colour_error(home, against) > colour_error(home, plain))

    return mean(one)


def main() -> None:
    for style in STYLES:
        print(f"round trip, {style}: {round_trip(style):.1f} dB")
    for calls in (None, 1, 2, 4):
        print(f"{STEPS} steps" if calls is None else f"tcd, calls of the denoiser: {calls}")
        for strength in (0.1, 0.3, 0.5, 0.7, 1.0):
            _print_strength(strength, calls)
        for style in STYLES:
            print(f"  0.5, the prompt says {style}: {styled(style, 0.5, calls):.0%} are")
        for strength in (0.5, 0.7):
            _print_crispness(strength, calls)
    print("with the control network of edges")
    for strength in (0.5, 0.7, 0.8, 1.0):
        season, time = arrived_kept(strength)
        print(
            f"  {strength}: season {season:.0%}, time {time:.0%}, "
            f"outline {outline_kept(strength):.2f} ({outline(strength):.2f} without)"
        )
    print(f"outline in the other style: {outline_in_other_style(0.5):.2f}")
    for guidance in (1.0, 7.0):
        error = disagreement(0.3, guidance)
        print(f"guidance {guidance} at strength 0.3: {error:.1f} from what the prompt asks for")
    print(f"driven away by a negative prompt: {driven_away(0.6):.0%}")


def _print_strength(strength: float, calls: int | None) -> None:
    season, time = arrived(strength, calls)
    print(
        f"  {strength}: distance {distance(strength, calls):.1f}, season {season:.0%}, "
        f"time {time:.0%}, outline {outline(strength, calls):.2f}"
    )


def _print_crispness(strength: float, calls: int | None) -> None:
    print(f"  gradient energy by the painter's, strength {strength}: {', '.join(TIMES)}")
    for season in SEASONS:
        shares = [crispness(season, time, strength, calls) for time in TIMES]
        print(f"    {season:8}" + "".join(f"{share:8.0%}" for share in shares))


if __name__ == "__main__":
    main()
