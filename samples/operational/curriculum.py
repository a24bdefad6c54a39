"""What a learning platform teaches, and how practice makes a learner better at it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

SUBJECTS = {
    "MATH": ("Mathematics", ("Addition", "Subtraction", "Multiplication", "Division", "Fractions", "Angles")),
    "READ": ("Reading", ("Letters", "Syllables", "Sentences", "Stories", "Main Idea", "Summaries")),
    "SCI": ("Science", ("Plants", "Animals", "Weather", "Forces", "Electricity", "Planets")),
    "LANG": ("Languages", ("Greetings", "Numbers", "Family", "Past Tense", "Questions", "Letters and Mail")),
}
"""Name and skills of each subject, by its code; later skills are harder."""

DEVICES = ("tablet", "laptop", "phone", "desktop")
PLANS = ("trial", "basic", "premium")
CAUSES = ("idle", "tab", "device")
REASONS = ("weak", "next", "review")
SCHOOLS = ("Primary School", "Grammar School", "College", "Learning Centre", "Academy")


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill as the curriculum lists it; `difficulty` is 1 to 5."""

    id: int
    subject: int
    code: str
    name: str
    difficulty: int


def skills() -> list[Skill]:
    """Return every skill, those of a subject one after the other."""
    return [
        Skill((subject - 1) * len(taught) + place, subject, f"{code}-{place}", name, min(5, place))
        for subject, (code, (_, taught)) in enumerate(SUBJECTS.items(), 1)
        for place, name in enumerate(taught, 1)
    ]


def answered(mastery: Decimal, rng: random.Random) -> tuple[int, int]:
    """Return how many responses a learner gives while practising, and how many are right: the better, the more."""
    responses = rng.randint(3, 12)
    chance = 0.35 + 0.6 * float(mastery)
    return responses, sum(rng.random() < chance for _ in range(responses))


def practised(mastery: Decimal, responses: int, correct: int) -> Decimal:
    """Return the mastery after some responses: right ones close a part of what is missing, wrong ones take a part.

    >>> practised(Decimal("0.5000"), 2, 2), practised(Decimal("0.5000"), 2, 1)
    (Decimal('0.5500'), Decimal('0.5100'))
    """
    value = float(mastery)
    return mastery_of(value + (1 - value) * 0.05 * correct - value * 0.03 * (responses - correct))


def mastery_of(value: float) -> Decimal:
    """Return a mastery as it is stored, between 0 and 1 with four digits."""
    return Decimal(round(min(max(value, 0.0), 1.0) * 10_000)).scaleb(-4)


def score(questions: int, correct: int) -> Decimal:
    """Return the score of a homework, 0 to 100.

    >>> score(8, 5)
    Decimal('62.50')
    """
    return Decimal(10_000 * correct // questions).scaleb(-2)
