"""Random people and addresses, the way an application stores them."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass

from starberg.samples.operational.vocabulary import COUNTRIES, FIRST_NAMES, LAST_NAMES, MAIL_DOMAINS, Country

_COUNTRY_WEIGHTS = [country.weight for country in COUNTRIES]


@dataclass(frozen=True, slots=True)
class Address:
    """Where somebody lives; `country` as it was typed."""

    street: str
    city: str
    postal_code: str
    country: str


def stream(seed: int, purpose: str) -> random.Random:
    """Return the random numbers of one purpose: what one part draws does not change what another one does."""
    return random.Random(f"{seed}:{purpose}")


def name(rng: random.Random) -> tuple[str, str]:
    """Return a first and a last name."""
    return rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)


def email(first: str, last: str, number: int, rng: random.Random) -> str:
    """Return an address that `number` makes unique."""
    plain = unicodedata.normalize("NFKD", f"{first}.{last}".replace("ß", "ss")).encode("ascii", "ignore").decode()
    return f"{plain.lower()}{number}@{rng.choice(MAIL_DOMAINS)}"


def country(rng: random.Random) -> Country:
    """Return a country by its share."""
    return rng.choices(COUNTRIES, _COUNTRY_WEIGHTS)[0]


def phone(home: Country, rng: random.Random) -> str | None:
    """Return a telephone number in one of the ways people write it; not everybody gives one."""
    if rng.random() < 0.15:
        return None
    gap = rng.choice((" ", "", "-"))
    return f"{home.dial} {rng.randrange(100, 999)}{gap}000{gap}{rng.randrange(1000, 9999)}"


def address(home: Country, rng: random.Random) -> Address:
    """Return an address; the first city of a country has the most people."""
    city = home.cities[min(rng.randrange(len(home.cities)), rng.randrange(len(home.cities)))]
    street = home.street.replace("{}", rng.choice(home.streets)).replace("{n}", str(rng.randrange(1, 180)))
    code = "".join(str(rng.randrange(1, 10)) if char == "#" else char for char in home.postal)
    return Address(street, city, code, untidy(home.name, rng))


def untidy(text: str, rng: random.Random) -> str:
    """Return a text as it gets into a database: now and then in the wrong case, or with spaces around it."""
    luck = rng.random()
    if luck < 0.04:
        return text.upper()
    if luck < 0.08:
        return text.lower()
    if luck < 0.11:
        return f" {text}"
    return f"{text}  " if luck < 0.14 else text
