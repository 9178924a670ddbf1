"""Plain English for a scene: many wordings, some words left out, some that mean nothing."""

import numpy as np

from pocket.scene import Scene, Season, Style, Thing, Time

Words = tuple[str, ...]

SEASON_BEFORE: dict[Season, Words] = {
    "summer": ("summer", "green", "green summer"),
    "autumn": ("autumn", "autumn", "fall", "golden autumn"),
    "winter": ("winter", "snowy", "snow-covered", "frozen winter"),
    "desert": ("desert", "desert", "sandy desert"),
}
SEASON_AFTER: dict[Season, Words] = {
    "summer": ("in summer", "in summer", "on a summer day"),
    "autumn": ("in autumn", "in autumn", "in the fall"),
    "winter": ("in winter", "in winter", "in the snow", "with snow"),
    "desert": ("in the desert", "in a desert", "in a sandy desert"),
}
TIME_AFTER: dict[Time, Words] = {
    "noon": (
        "at noon",
        "at noon",
        "at midday",
        "in daylight",
        "by day",
        "in the sun",
        "under a blue sky",
    ),
    "sunset": (
        "at sunset",
        "at sunset",
        "at dusk",
        "in the evening",
        "at sundown",
        "in the evening sun",
    ),
    "night": (
        "at night",
        "at night",
        "at night",
        "by night",
        "under the stars",
        "under the moon",
        "in the moonlight",
        "on a starry night",
        "with moon and stars",
    ),
}
TIME_TAG: dict[Time, Words] = {
    "noon": ("noon", "midday", "day", "daylight", "sunny", "sunny day"),
    "sunset": ("sunset", "dusk", "evening"),
    "night": ("night", "starry night", "moonlight", "night sky"),
}
MOUNTAINS: Words = ("mountains", "mountains", "mountain landscape", "mountain range", "peaks")
HILLS: Words = ("hills", "hills", "rolling hills", "hilly landscape", "countryside")
SCENERY: Words = ("landscape", "scene", "scenery", "view")
THINGS: dict[Thing, Words] = {
    "house": ("a house", "a house", "a small house", "a cottage", "a cabin", "a village", "a home"),
    "trees": ("trees", "trees", "a forest", "woods", "many trees", "a few trees"),
    "lake": ("a lake", "a lake", "a small lake", "a pond", "water"),
    "nothing": ("nothing else", "no houses", "nothing"),
}
DESERT_THINGS: dict[Thing, Words] = {
    "trees": ("trees", "cactuses", "cacti", "cactus"),
    "lake": ("a lake", "an oasis", "a pond", "water"),
}
STYLES: dict[Style, Words] = {
    "poster": ("poster", "flat poster", "poster", "vector poster", "flat illustration"),
    "watercolour": (
        "watercolour",
        "watercolour",
        "watercolor",
        "watercolour painting",
        "aquarelle",
    ),
}
FILLERS: Words = (
    "beautiful",
    "highly detailed",
    "a photo of",
    "a picture of",
    "pretty",
    "quiet",
    "please",
    "art",
    "very",
    "old",
    "nice",
    "wonderful",
    "turn this into",
    "make it",
    "the same",
)


def caption(
    scene: Scene,
    rng: np.random.Generator,
    named: frozenset[str] = frozenset(),
    *,
    thing_named: float = 0.85,
) -> str:
    """One wording for a scene. Each property is named most times (those in `named`, of season,
    time and style, always; a thing that is there with the chance `thing_named`), so that a prompt
    may leave any of them out; at times there are words in it that nobody knows."""

    def pick(words: Words) -> str:
        return words[int(rng.integers(len(words)))]

    def says(chance: float) -> bool:
        return bool(rng.uniform() < chance)

    season, time, style = (
        says(chance) or name in named
        for name, chance in (("season", 0.92), ("time", 0.90), ("style", 0.65))
    )
    land, thing = says(0.85), says(thing_named if scene.thing != "nothing" else 0.15)
    wordings = THINGS[scene.thing]
    if scene.season == "desert":
        wordings = DESERT_THINGS.get(scene.thing, wordings)
    ground = pick((MOUNTAINS if scene.land == "mountains" else HILLS) if land else SCENERY)
    object_ = pick(wordings)

    if says(0.25):  # tags in any order
        tags = [pick(SEASON_BEFORE[scene.season])] * season + [pick(TIME_TAG[scene.time])] * time
        tags += [ground] * land + [object_] * thing + [pick(STYLES[scene.style])] * style
        text = (", " if says(0.7) else " ").join(tags[i] for i in rng.permutation(len(tags)))
    else:
        before = says(0.65)
        core = f"{pick(SEASON_BEFORE[scene.season])} {ground}" if season and before else ground
        if scene.thing == "house" and thing and scene.land == "mountains" and says(0.15):
            core, thing = core.removesuffix(ground) + "mountain village", False
        if thing:
            core = f"{object_} in {core}" if says(0.4) else f"{core} with {object_}"
        after = [pick(TIME_AFTER[scene.time])] * time
        after += [pick(SEASON_AFTER[scene.season])] * (season and not before)
        text = " ".join([core, *(after[i] for i in rng.permutation(len(after)))])
        if style:
            look = pick(STYLES[scene.style])
            article = "an" if look[0] == "a" else "a"
            wording = int(rng.integers(4))
            text = (
                f"{text}, {look}",
                f"{article} {look} of {text}",
                f"{look}, {text}",
                f"{text}, in {look} style",
            )[wording]
    if says(0.15):
        noise = pick(FILLERS) if says(0.6) else _unknown(rng)
        text = f"{noise} {text}" if says(0.5) else f"{text}, {noise}"
    return text if text[:1] in ("", *"aeiou") or says(0.90) else f"a {text}"


def _unknown(rng: np.random.Generator) -> str:
    """A word outside every vocabulary."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(letters[i] for i in rng.integers(0, len(letters), int(rng.integers(3, 8))))


def known_words() -> list[str]:
    """Every word that a caption can hold, unknown ones aside, in order."""
    groups: list[Words] = [MOUNTAINS, HILLS, SCENERY, FILLERS]
    tables = (SEASON_BEFORE, SEASON_AFTER, TIME_AFTER, TIME_TAG, THINGS, DESERT_THINGS, STYLES)
    for table in tables:
        groups += list(table.values())
    glue = [
        "a",
        "an",
        "in",
        "of",
        "with",
        "and",
        "style",
        "mountain",
        "mountain",
        "village",
        "cottage",
        "the",
        "at",
        "on",
    ]
    text = " ".join(" ".join(group) for group in groups).replace("-", " ").lower()
    return sorted(set(text.split()) | set(glue))
