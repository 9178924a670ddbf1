"""The colours of each season at each time of day."""

from dataclasses import dataclass

from pocket.scene import Season, Time

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """sRGB colours in [0, 1]. `sky` runs from the zenith to the horizon, `land` from the
    farthest layer to the ground at our feet."""

    sky: tuple[Colour, Colour, Colour]
    land: tuple[Colour, Colour, Colour, Colour]
    snow: Colour
    body: Colour
    cloud: Colour
    leaves: tuple[Colour, Colour, Colour]
    trunk: Colour
    wall: Colour
    roof: Colour
    window: Colour


SKIES: dict[tuple[Season, Time], tuple[Colour, Colour, Colour]] = {
    ("summer", "noon"): ((0.17, 0.50, 0.86), (0.44, 0.72, 0.94), (0.76, 0.91, 0.96)),
    ("autumn", "noon"): ((0.45, 0.63, 0.78), (0.72, 0.80, 0.82), (0.97, 0.91, 0.76)),
    ("winter", "noon"): ((0.52, 0.69, 0.86), (0.72, 0.83, 0.92), (0.91, 0.95, 0.97)),
    ("desert", "noon"): ((0.16, 0.60, 0.76), (0.52, 0.78, 0.82), (0.98, 0.91, 0.74)),
    ("summer", "sunset"): ((0.38, 0.27, 0.58), (0.93, 0.46, 0.47), (1.00, 0.79, 0.44)),
    ("autumn", "sunset"): ((0.50, 0.40, 0.48), (0.93, 0.62, 0.42), (1.00, 0.86, 0.52)),
    ("winter", "sunset"): ((0.44, 0.42, 0.68), (0.89, 0.60, 0.70), (1.00, 0.84, 0.71)),
    ("desert", "sunset"): ((0.52, 0.16, 0.34), (0.95, 0.36, 0.22), (1.00, 0.74, 0.34)),
    ("summer", "night"): ((0.03, 0.06, 0.20), (0.07, 0.17, 0.36), (0.16, 0.37, 0.49)),
    ("autumn", "night"): ((0.07, 0.05, 0.18), (0.17, 0.12, 0.30), (0.37, 0.25, 0.38)),
    ("winter", "night"): ((0.05, 0.10, 0.28), (0.14, 0.26, 0.50), (0.36, 0.53, 0.72)),
    ("desert", "night"): ((0.08, 0.04, 0.22), (0.24, 0.11, 0.38), (0.50, 0.26, 0.42)),
}

LANDS: dict[Season, tuple[Colour, Colour, Colour, Colour]] = {
    "summer": ((0.45, 0.61, 0.70), (0.28, 0.52, 0.42), (0.30, 0.60, 0.28), (0.50, 0.74, 0.28)),
    "autumn": ((0.62, 0.55, 0.62), (0.66, 0.38, 0.26), (0.82, 0.47, 0.15), (0.91, 0.67, 0.25)),
    "winter": ((0.60, 0.70, 0.84), (0.70, 0.79, 0.90), (0.84, 0.90, 0.96), (0.95, 0.97, 1.00)),
    "desert": ((0.72, 0.47, 0.44), (0.74, 0.38, 0.25), (0.87, 0.55, 0.30), (0.95, 0.78, 0.48)),
}

LEAVES: dict[Season, tuple[Colour, Colour, Colour]] = {
    "summer": ((0.10, 0.37, 0.22), (0.16, 0.46, 0.20), (0.24, 0.53, 0.20)),
    "autumn": ((0.80, 0.25, 0.10), (0.92, 0.45, 0.08), (0.70, 0.16, 0.14)),
    "winter": ((0.22, 0.38, 0.44), (0.28, 0.44, 0.50), (0.18, 0.34, 0.42)),
    "desert": ((0.22, 0.46, 0.26), (0.30, 0.52, 0.28), (0.26, 0.42, 0.22)),
}

SUNSET: tuple[Colour, Colour] = ((0.80, 0.60, 0.58), (0.06, 0.00, 0.06))
"""What daylight is multiplied by, and what is then added."""
NIGHT: dict[Season, tuple[Colour, Colour]] = {
    "summer": ((0.20, 0.36, 0.42), (0.00, 0.02, 0.06)),
    "autumn": ((0.36, 0.29, 0.36), (0.02, 0.01, 0.06)),
    "winter": ((0.44, 0.53, 0.68), (0.00, 0.02, 0.07)),
    "desert": ((0.42, 0.31, 0.42), (0.04, 0.00, 0.12)),
}

BODY: dict[Time, Colour] = {
    "noon": (1.00, 0.95, 0.66),
    "sunset": (1.00, 0.91, 0.62),
    "night": (0.97, 0.97, 0.88),
}
CLOUD: dict[Time, Colour] = {
    "noon": (0.99, 0.99, 0.98),
    "sunset": (0.99, 0.66, 0.56),
    "night": (0.25, 0.30, 0.46),
}
WALL: dict[Season, Colour] = {
    "summer": (0.97, 0.92, 0.82),
    "autumn": (0.95, 0.86, 0.72),
    "winter": (0.72, 0.46, 0.34),
    "desert": (0.96, 0.88, 0.74),
}
ROOF: dict[Season, Colour] = {
    "summer": (0.80, 0.27, 0.20),
    "autumn": (0.46, 0.22, 0.20),
    "winter": (0.98, 0.99, 1.00),
    "desert": (0.60, 0.26, 0.18),
}


def lit(colour: Colour, season: Season, time: Time) -> Colour:
    """A daylight colour in the light of `time`."""
    if time == "noon":
        return colour
    multiply, add = SUNSET if time == "sunset" else NIGHT[season]
    r, g, b = (min(1.0, c * m + a) for c, m, a in zip(colour, multiply, add, strict=True))
    return (r, g, b)


def palette(season: Season, time: Time) -> Palette:
    """Every colour of one season at one time of day."""
    a, b, c, d = (lit(colour, season, time) for colour in LANDS[season])
    x, y, z = (lit(colour, season, time) for colour in LEAVES[season])
    return Palette(
        sky=SKIES[season, time],
        land=(a, b, c, d),
        snow=lit((0.98, 0.99, 1.0), season, time),
        body=BODY[time],
        cloud=CLOUD[time],
        leaves=(x, y, z),
        trunk=lit((0.38, 0.25, 0.18), season, time),
        wall=lit(WALL[season], season, time),
        roof=lit(ROOF[season], season, time),
        window=(0.30, 0.42, 0.55) if time == "noon" else (1.00, 0.84, 0.38),
    )


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """The colour a share `t` of the way from a to b."""
    r, g, bl = (p + (q - p) * t for p, q in zip(a, b, strict=True))
    return (r, g, bl)
