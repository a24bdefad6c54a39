"""The game itself: roles are dealt, nights and days alternate, until one side has won. Nothing but rules and chance."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from starberg.samples.operational.vocabulary import ROLES

SIDES = {role: side for role, side, _ in ROLES}
FEWEST_PLAYERS = 5
_SEES_THROUGH = 0.4
_FOLLOWS = 0.55


@dataclass(frozen=True, slots=True)
class Action:
    """Something one player does to another in a phase of a round."""

    phase: str
    round: int
    kind: str
    actor: int
    target: int


@dataclass
class Match:
    """A game under way: each player's role, who is still alive, and which phase comes next."""

    roles: Mapping[int, str]
    alive: list[int]
    round: int = 1
    phase: str = "night"

    @property
    def winner(self) -> str | None:
        """The side that has won: town without mafia, mafia once it is as many as the others."""
        mafia = sum(SIDES[self.roles[player]] == "mafia" for player in self.alive)
        if not mafia:
            return "town"
        return "mafia" if mafia * 2 >= len(self.alive) else None

    def play(self, rng: random.Random) -> list[Action]:
        """Play one phase: return what the players do, and go on to the next phase."""
        phase, number = self.phase, self.round
        chosen = self._night(rng) if phase == "night" else self._day(rng)
        actions = [Action(phase, number, kind, actor, target) for kind, actor, target in chosen]
        self.resolve(actions)
        return actions

    def resolve(self, actions: Sequence[Action]) -> None:
        """Let die who dies by the actions of one phase: at night who was not healed, by day whom most voted for."""
        targets = {kind: [action.target for action in actions if action.kind == kind] for kind in ("kill", "heal")}
        dead = set(targets["kill"]) - set(targets["heal"])
        votes = Counter(action.target for action in actions if action.kind == "vote").most_common(2)
        if votes and (len(votes) == 1 or votes[0][1] > votes[1][1]):
            dead.add(votes[0][0])
        self.alive = [player for player in self.alive if player not in dead]
        if self.phase == "day":
            self.round += 1
        self.phase = "day" if self.phase == "night" else "night"

    def _night(self, rng: random.Random) -> list[tuple[str, int, int]]:
        chosen = []
        town = self._of("town")
        for player in self.alive:
            role = self.roles[player]
            others = [other for other in self.alive if other != player]
            if role == "Doctor":
                chosen.append(("heal", player, rng.choice(self.alive)))
            elif role == "Detective" and others:
                chosen.append(("check", player, rng.choice(others)))
        if town:
            chosen.insert(0, ("kill", rng.choice(self._of("mafia")), rng.choice(town)))
        return chosen

    def _day(self, rng: random.Random) -> list[tuple[str, int, int]]:
        """Let everybody vote: many follow the one who accuses first."""
        accused = rng.choice(self._of("mafia") if rng.random() < _SEES_THROUGH else self.alive)
        chosen = []
        for player in self.alive:
            enemies = self._of("town") if SIDES[self.roles[player]] == "mafia" else self.alive
            own = [other for other in enemies if other != player]
            target = accused if accused != player and rng.random() < _FOLLOWS else rng.choice(own)
            chosen.append(("vote", player, target))
        return chosen

    def _of(self, side: str) -> list[int]:
        return [player for player in self.alive if SIDES[self.roles[player]] == side]


def deal(players: Sequence[int], rng: random.Random) -> dict[int, str]:
    """Give each player a role: a quarter are mafia, one is the doctor, one the detective."""
    mafia = max(1, len(players) // 4)
    roles = ["Mafia"] * mafia + ["Doctor", "Detective"]
    roles += ["Citizen"] * (len(players) - len(roles))
    rng.shuffle(roles)
    return dict(zip(players, roles, strict=True))


def replay(roles: Mapping[int, str], actions: Iterable[Action], left: Iterable[int] = ()) -> Match:
    """Return the match as it stands after actions, in the order they were done; who has left is out of it."""
    match = Match(roles, list(roles))
    phases: dict[tuple[int, str], list[Action]] = {}
    for action in actions:
        phases.setdefault((action.round, action.phase), []).append(action)
    for done in phases.values():
        match.resolve(done)
    gone = set(left)
    match.alive = [player for player in match.alive if player not in gone]
    return match
