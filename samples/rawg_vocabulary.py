"""The fixed words of the sample catalogue: platforms, stores, genres, tags, ratings, companies and title words.

Nothing here comes from the RAWG service: platform names and genres are common knowledge, stores and companies are
made up (their domains are reserved ones, RFC 2606), ids are ours.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

MEDIA = "https://media.example"


@dataclass(frozen=True, slots=True)
class Member:
    """One row of a dimension endpoint; `listed=False` appears inside games only, as happens in the real API."""

    id: int
    slug: str
    name: str
    extra: dict[str, Any] = field(default_factory=dict)
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Platform(Member):
    """A platform sells between `start` and `end` (years); `weight` is its share of games in those years."""

    parent: str = ""
    start: int = 1980
    end: int = 9999
    weight: int = 1


_SPELLED = {"Крепость": "Krepost", "竜": "Ryu"}


def slugify(text: str) -> str:
    """Lower-case ASCII words joined by hyphens."""
    for foreign, latin in _SPELLED.items():
        text = text.replace(foreign, latin)
    ascii_text = unicodedata.normalize("NFKD", text.replace("'", "")).encode("ascii", "ignore").decode()
    return "-".join("".join(char if char.isalnum() else " " for char in ascii_text.lower()).split())


# name, parent, first year, last year, weight
_PLATFORMS = """
PC|PC|1980|9999|100
macOS|Apple Macintosh|2001|9999|30
Linux|Linux|1995|9999|22
Web|Web|1996|9999|20
PlayStation 5|PlayStation|2020|9999|22
Xbox Series S/X|Xbox|2020|9999|18
Nintendo Switch|Nintendo|2017|9999|28
PlayStation 4|PlayStation|2013|9999|28
Xbox One|Xbox|2013|9999|22
iOS|iOS|2008|9999|18
Android|Android|2009|9999|18
Nintendo Switch 2|Nintendo|2025|9999|12
PlayStation 3|PlayStation|2006|2017|30
Xbox 360|Xbox|2005|2018|30
Wii|Nintendo|2006|2016|20
Wii U|Nintendo|2012|2019|8
PS Vita|PlayStation|2011|2020|8
Nintendo 3DS|Nintendo|2011|2020|8
Nintendo DS|Nintendo|2004|2014|20
PSP|PlayStation|2004|2014|15
PlayStation 2|PlayStation|2000|2013|40
Xbox|Xbox|2001|2008|20
GameCube|Nintendo|2001|2007|15
Game Boy Advance|Nintendo|2001|2008|15
Game Boy Color|Nintendo|1998|2003|15
Dreamcast|SEGA|1998|2002|10
Nintendo 64|Nintendo|1996|2002|15
PlayStation|PlayStation|1994|2006|40
SEGA Saturn|SEGA|1994|2000|10
Game Boy|Nintendo|1989|2003|15
SNES|Nintendo|1990|2000|30
NES|Nintendo|1983|1995|30
Genesis|SEGA|1988|1998|25
SEGA Master System|SEGA|1985|1996|10
Game Gear|SEGA|1990|1997|8
SEGA CD|SEGA|1991|1996|5
SEGA 32X|SEGA|1994|1996|2
3DO|3DO|1993|1996|5
Jaguar|Atari|1993|1996|3
Neo Geo|Neo Geo|1990|2004|5
Atari Lynx|Atari|1989|1995|3
Atari 2600|Atari|1980|1992|20
Atari 5200|Atari|1982|1986|5
Atari 7800|Atari|1986|1992|5
Atari 8-bit|Atari|1980|1992|10
Atari ST|Atari|1985|1993|10
Amiga|Amiga|1985|1996|15
Commodore 64|Amiga|1982|1994|15
Apple II|Apple Macintosh|1980|1993|10
ZX Spectrum|PC|1982|1993|10
Classic Macintosh|Apple Macintosh|1984|2001|5
Cloud Handheld|Web|2015|9999|5
"""
_UNLISTED_PLATFORM = "Cloud Handheld"


def _platforms() -> dict[int, Platform]:
    platforms = {}
    for row, line in enumerate(_PLATFORMS.split("\n")[1:-1]):
        name, parent, start, end, weight = line.split("|")
        years = {"year_start": int(start), "year_end": None if end == "9999" else int(end)}
        platforms[5 * row + 2] = Platform(
            id=5 * row + 2,
            slug=slugify(name),
            name=name,
            extra={"image": None, **years},
            listed=name != _UNLISTED_PLATFORM,
            parent=parent,
            start=int(start),
            end=int(end),
            weight=int(weight),
        )
    return platforms


PLATFORMS = _platforms()
PC = next(platform.id for platform in PLATFORMS.values() if platform.name == "PC")
PARENTS = {
    name: Member(row + 1, slugify(name), name)
    for row, name in enumerate(dict.fromkeys(platform.parent for platform in PLATFORMS.values()))
}

GENRES = {
    7 * row + 3: Member(7 * row + 3, slugify(name), name)
    for row, name in enumerate(
        (
            *("Action", "Indie", "Adventure", "RPG", "Strategy", "Shooter", "Casual", "Simulation", "Puzzle"),
            *("Arcade", "Platformer", "Racing", "Sports", "Fighting", "Family", "Board Games", "Card"),
            *("Educational", "Massively Multiplayer"),
        )
    )
}

STORES = {
    row + 1: Member(row + 1, slugify(name), name, {"domain": f"{slugify(name)}.example"})
    for row, name in enumerate(
        (
            *("Northgate Games", "Open Shelf", "Blue Counter", "Corner Arcade", "Pocket Stall"),
            *("Harbour Market", "Keystone Store", "Paper Crate", "Lantern Shop", "Second Player"),
        )
    )
}

_TAG_ADJECTIVES = (
    *(("Dark", "Тёмный"), ("Open", "Открытый"), ("Short", "Короткий"), ("Tactical", "Тактический")),
    *(("Classic", "Классический"), ("Hand-Drawn", "Рисованный"), ("Living", "Живой"), ("Silent", "Тихий")),
    *(("Northern", "Северный"), ("Ancient", "Древний"), ("Secret", "Тайный"), ("Endless", "Бесконечный")),
    *(("Small", "Малый"), ("Big", "Большой"), ("Lonely", "Одинокий"), ("Funny", "Смешной")),
    *(("Cruel", "Жестокий"), ("Calm", "Спокойный"), ("Mechanical", "Механический"), ("Wild", "Дикий")),
)
_TAG_NOUNS = (
    *(("World", "мир"), ("Combat", "бой"), ("Story", "сюжет"), ("Hero", "герой"), ("Style", "стиль")),
    *(("Mode", "режим"), ("Humor", "юмор"), ("City", "город"), ("Forest", "лес"), ("Space", "космос")),
    *(("Island", "остров"), ("Castle", "замок"), ("Ship", "корабль"), ("Squad", "отряд"), ("Market", "рынок")),
    ("Tournament", "турнир"),
)
_RUSSIAN = 40_000  # a tag and its twin are two rows of two ids
_UNLISTED_TAGS = 3


def _tags() -> dict[int, Member]:
    """Every tag twice, as the real API has them: an `eng` row and a `rus` row of another id, slug and name."""
    tags = {}
    pairs = [(a, b) for b in _TAG_NOUNS for a in _TAG_ADJECTIVES]
    for row, ((adjective, russian_adjective), (noun, russian_noun)) in enumerate(pairs):
        slug, tag_id, listed = slugify(f"{adjective} {noun}"), 11 * row + 5, row >= _UNLISTED_TAGS
        english = Member(tag_id, slug, f"{adjective} {noun}", {"language": "eng"}, listed)
        russian_name = f"{russian_adjective} {russian_noun}"
        twin = Member(tag_id + _RUSSIAN, f"{slug}-rus", russian_name, {"language": "rus"}, listed)
        tags[english.id], tags[twin.id] = english, twin
    return tags


TAGS = _tags()
ENGLISH_TAGS = tuple(tag.id for tag in TAGS.values() if tag.extra["language"] == "eng")


def twin(tag_id: int) -> int:
    """Return the id of an English tag's Russian row."""
    return tag_id + _RUSSIAN


def counted(kind: str, member_id: int) -> int:
    """Return the id that games carry for a member: a Russian tag stands for its English twin."""
    return member_id % _RUSSIAN if kind == "tags" else member_id


# id -> name, Russian name
ESRB = {
    1: ("Everyone", "Для всех"),
    2: ("Everyone 10+", "С 10 лет"),
    3: ("Teen", "С 13 лет"),
    4: ("Mature", "С 17 лет"),
    5: ("Adults Only", "Только для взрослых"),
    6: ("Rating Pending", "Нет рейтинга"),
}

# What players may vote, by the id the API gives it.
VOTES = {5: "exceptional", 4: "recommended", 3: "meh", 1: "skip"}

_ADJECTIVES = """
Amber Ancient Azure Bitter Black Blind Brave Bright Broken Burning Cold Copper Crimson Dark Dead Deep Distant Electric
Empty Endless Fading Fallen Final Forgotten Frozen Gentle Ghost Gilded Golden Grand Hidden Hollow Iron Last Little
Lonely Lost Lucky Lunar Mighty Neon Pale Paper Quiet Raven's Restless Royal Rusty Sacred Señor Shattered Silver
Sleeping Solar Tiny Velvet Wandering Wicked Winter
"""
_NOUNS = """
Anchor Archive Arena Bastion Beacon Blade Bridge Café Canyon Castle Circuit Citadel Cloud Colony Compass Crown Depths
Desert Dragon Dungeon Echo Ember Empire Engine Farm Fjörd Forest Fortress Frontier Galaxy Garden Gate Harbor Harvest
Horizon Island Kingdom Kitchen Knight Labyrinth Lantern Legacy Machine Market Meadow Mine Moon Mountain Orbit Planet
Puzzle Quest Raider River Ruins Shadow Signal Station Storm Tactics Temple Tower Valley Village Voyage Wolf Żubr
Крепость 竜
"""
ADJECTIVES, NOUNS = tuple(_ADJECTIVES.split()), tuple(_NOUNS.split())

DEVELOPERS = {
    101 + row: Member(101 + row, slugify(name), name)
    for row, name in enumerate(f"{ADJECTIVES[row]} {NOUNS[(row * 7) % 64]} Studio" for row in range(48))
}
PUBLISHERS = {
    201 + row: Member(201 + row, slugify(name), name)
    for row, name in enumerate(f"{ADJECTIVES[row]} {NOUNS[(row * 5) % 64]} Publishing" for row in range(24))
}
# Creators are people in the real API; the sample has numbered roles instead.
CREATORS = {
    301 + row: Member(301 + row, slugify(name), name, {"image": None})
    for row, name in enumerate(f"{role} {number}" for role in ("Writer", "Composer") for number in range(1, 13))
}

MEMBERS: dict[str, dict[int, Member]] = {
    "platforms": dict(PLATFORMS),
    "stores": STORES,
    "genres": GENRES,
    "tags": TAGS,
    "developers": DEVELOPERS,
    "publishers": PUBLISHERS,
    "creators": CREATORS,
}
