"""The generated past of the operational databases: its rules hold, its shares are those of a real business."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from starberg.samples.operational import curriculum, delivery, mafia, people, retail
from starberg.samples.operational.mafia_rules import SIDES, Action, Match, deal, replay
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import SYSTEMS, system_of
from starberg.samples.operational.tables import _lines
from starberg.samples.operational.vocabulary import SEGMENTS
from starberg.utils.errors import UsageError

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = Size(people=400, days=90, seed=7, until=UNTIL)
Row = dict[str, Any]
FIXED = {"roles", "subjects", "skills"}
"""Tables whose rows are no matter of chance."""


def rows(warehouse: str, size: Size) -> dict[str, list[Row]]:
    databases = SYSTEMS[warehouse].rows(size).values()
    return {
        table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        for tables in databases
        for table in tables
    }


@pytest.fixture(scope="module")
def shop() -> dict[str, list[Row]]:
    return rows("retail", SMALL)


@pytest.fixture(scope="module")
def platform() -> dict[str, list[Row]]:
    return rows("mafia", Size(people=300, days=30, seed=7, until=UNTIL))


@pytest.fixture(scope="module")
def school() -> dict[str, list[Row]]:
    return rows("learning", Size(people=120, days=30, seed=7, until=UNTIL))


@pytest.fixture(scope="module")
def house() -> dict[str, list[Row]]:
    return rows("projects", Size(people=40, days=60, seed=7, until=UNTIL))


@pytest.mark.parametrize("warehouse", SYSTEMS)
def test_a_size_is_always_the_same_data_and_another_seed_is_other_data(warehouse: str) -> None:
    size = Size(people=60, days=20, seed=1, until=UNTIL)
    assert rows(warehouse, size) == rows(warehouse, size)
    other = rows(warehouse, Size(people=60, days=20, seed=2, until=UNTIL))
    assert not any(table == other[name] for name, table in rows(warehouse, size).items() if name not in FIXED)


@pytest.mark.parametrize("warehouse", SYSTEMS)
def test_keys_count_up_and_nothing_lies_in_the_future(warehouse: str) -> None:
    for table in rows(warehouse, Size(people=60, days=20, seed=1, until=UNTIL)).values():
        assert [next(iter(row.values())) for row in table] == list(range(1, len(table) + 1))
        times = [
            value for row in table for name, value in row.items() if isinstance(value, datetime) and name != "due_at"
        ]
        assert all(time < UNTIL for time in times)


@pytest.mark.parametrize("warehouse", SYSTEMS)
def test_the_smallest_size_works(warehouse: str) -> None:
    found = rows(warehouse, Size(people=1, days=1, seed=1, until=UNTIL))
    people = next(name for name in ("customers", "learners", "users") if name in found)
    assert len(found[people]) == 1


def test_a_warehouse_without_a_sample_database_names_those_that_have_one() -> None:
    with pytest.raises(
        UsageError, match=r"no sample database for games\. There are: retail, mafia, learning, projects"
    ):
        system_of("games")


# The shop


def test_sales_follow_the_number_of_customers_and_days(shop: dict[str, list[Row]]) -> None:
    assert len(shop["sales"]) == pytest.approx(400 * 90 * 0.22, rel=0.25)


def test_an_amount_is_quantity_times_price_less_discount(shop: dict[str, list[Row]]) -> None:
    for sale in shop["sales"]:
        assert sale["amount"] == sale["quantity"] * sale["unit_price"] - sale["discount"]
        assert sale["discount"] * sale["quantity"] >= 0
        assert all(sale[name].as_tuple().exponent == -2 for name in ("amount", "unit_price", "discount"))


def test_nobody_buys_before_they_joined_nor_what_is_not_yet_sold(shop: dict[str, list[Row]]) -> None:
    joined = {row["customer_id"]: row["created_at"] for row in shop["customers"]}
    listed = {row["product_id"]: row["created_at"] for row in shop["products"]}
    assert all(joined[sale["customer_id"]] < sale["transaction_date"] for sale in shop["sales"])
    assert all(listed[sale["product_id"]] < sale["transaction_date"] for sale in shop["sales"])


def test_sales_are_in_the_order_of_their_times_and_a_receipt_has_one_time(shop: dict[str, list[Row]]) -> None:
    times = [sale["transaction_date"] for sale in shop["sales"]]
    assert times == sorted(times)
    lines = Counter((sale["customer_id"], sale["transaction_date"]) for sale in shop["sales"])
    assert max(lines.values()) > 1


def test_prices_change_while_the_shop_runs(shop: dict[str, list[Row]]) -> None:
    prices: dict[int, list[Decimal]] = defaultdict(list)
    for sale in shop["sales"]:
        if sale["quantity"] > 0 and sale["unit_price"] not in prices[sale["product_id"]]:
            prices[sale["product_id"]].append(sale["unit_price"])
    assert sum(len(seen) > 1 for seen in prices.values()) >= len(prices) / 10
    now = {row["product_id"]: row["unit_price"] for row in shop["products"]}
    last = {sale["product_id"]: sale for sale in shop["sales"] if sale["quantity"] > 0}
    changed = {row["product_id"]: row["updated_at"] for row in shop["products"]}
    assert all(
        now[product] == sale["unit_price"]
        for product, sale in last.items()
        if changed[product] < sale["transaction_date"]
    )


def test_a_return_gives_back_an_earlier_sale(shop: dict[str, list[Row]]) -> None:
    sold = {
        (sale["customer_id"], sale["product_id"], sale["quantity"], sale["amount"]): sale["transaction_date"]
        for sale in reversed(shop["sales"])
    }
    returns = [sale for sale in shop["sales"] if sale["quantity"] < 0]
    assert 0.005 < len(returns) / len(shop["sales"]) < 0.05
    for back in returns:
        of = (back["customer_id"], back["product_id"], -back["quantity"], -back["amount"])
        assert sold[of] < back["transaction_date"]


def test_saturday_is_the_busiest_day_and_sunday_the_quietest(shop: dict[str, list[Row]]) -> None:
    days = Counter(sale["transaction_date"].weekday() for sale in shop["sales"])
    assert max(days, key=lambda day: days[day]) == 5
    assert min(days, key=lambda day: days[day]) == 6


def test_toys_are_for_december_and_spades_for_may() -> None:
    def sold(until: datetime) -> Counter[str]:
        found = rows("retail", Size(people=600, days=30, seed=3, until=until))
        group = {row["product_id"]: row["product_group"].strip().title() for row in found["products"]}
        return Counter(group[sale["product_id"]] for sale in found["sales"])

    may, december = sold(datetime(2026, 6, 1, tzinfo=UTC)), sold(UNTIL)
    assert december["Toys"] / december.total() > 1.5 * may["Toys"] / may.total()
    assert may["Garden"] / may.total() > 1.5 * december["Garden"] / december.total()


def test_text_comes_untidy(shop: dict[str, list[Row]]) -> None:
    for table, column in (("customers", "country"), ("customers", "segment"), ("products", "product_group")):
        texts = [row[column] for row in shop[table]]
        tidy = sum(text == text.strip() and text not in (text.upper(), text.lower()) for text in texts)
        assert len({text.strip().lower() for text in texts}) < len(set(texts))
        assert tidy > len(texts) / 2 or column == "segment"
    assert {row["segment"].strip().lower() for row in shop["customers"]} == set(SEGMENTS)


def test_some_never_bought_some_joined_lately_and_some_have_changed(shop: dict[str, list[Row]]) -> None:
    bought = {sale["customer_id"] for sale in shop["sales"]}
    new = [row for row in shop["customers"] if row["created_at"] > UNTIL - timedelta(days=90)]
    changed = [row for row in shop["customers"] if row["updated_at"] > row["created_at"]]
    assert 0 < len(shop["customers"]) - len(bought) < 60
    assert 10 < len(new) < 100
    assert 50 < len(changed) < 150


def test_the_best_customers_and_products_make_much_of_the_sales(shop: dict[str, list[Row]]) -> None:
    for key, share in (("customer_id", 0.2), ("product_id", 0.2)):
        counts = sorted(Counter(sale[key] for sale in shop["sales"]).values(), reverse=True)
        best = sum(counts[: round(len(counts) * share)])
        assert 0.35 < best / len(shop["sales"]) < 0.9


# The game


def match(*, mafia_players: int, town: int) -> Match:
    roles = {player: "Mafia" if player <= mafia_players else "Citizen" for player in range(1, mafia_players + town + 1)}
    return Match(roles, list(roles))


@pytest.mark.parametrize(
    ("mafia_players", "town", "winner"), [(0, 1, "town"), (1, 1, "mafia"), (1, 2, None), (2, 2, "mafia"), (2, 3, None)]
)
def test_who_has_won(mafia_players: int, town: int, winner: str | None) -> None:
    assert match(mafia_players=mafia_players, town=town).winner == winner


def test_who_is_healed_lives_and_a_tied_vote_kills_nobody() -> None:
    game = match(mafia_players=1, town=4)
    game.resolve([Action("night", 1, "kill", 1, 2), Action("night", 1, "heal", 3, 2)])
    assert (game.phase, game.round, game.alive) == ("day", 1, [1, 2, 3, 4, 5])
    game.resolve([Action("day", 1, "vote", 1, 2), Action("day", 1, "vote", 2, 1)])
    assert (game.phase, game.round, game.alive) == ("night", 2, [1, 2, 3, 4, 5])
    game.resolve([Action("night", 2, "kill", 1, 2)])
    assert game.alive == [1, 3, 4, 5]


@pytest.mark.parametrize("seed", range(20))
def test_a_game_ends_and_its_actions_tell_how(seed: int) -> None:
    rng = random.Random(seed)
    game = Match(roles := deal(range(1, 6 + seed % 10), rng), list(roles))
    actions = []
    while not game.winner:
        played = game.play(rng)
        assert {action.actor for action in played} <= set(roles)
        actions += played
    again = replay(roles, actions)
    assert (again.alive, again.winner) == (game.alive, game.winner)


# The platform


def test_a_completed_game_is_what_its_actions_say(platform: dict[str, list[Row]]) -> None:
    names = {row["role_id"]: row["role_name"] for row in platform["roles"]}
    sessions, actions = defaultdict(list), defaultdict(list)
    for row in platform["player_sessions"]:
        sessions[row["game_id"]].append(row)
    for row in platform["game_actions"]:
        actions[row["game_id"]].append(
            Action(row["phase"], row["round"], row["action_type"], row["actor_user_id"], row["target_user_id"])
        )
    assert {game["status"] for game in platform["games"]} >= {"completed", "abandoned"}
    for game in platform["games"]:
        seats = sessions[game["game_id"]]
        if game["status"] != "completed":
            assert all(seat["won"] is None and seat["survived"] is None for seat in seats)
            continue
        roles = {seat["user_id"]: names[seat["role_id"]] for seat in seats}
        end = replay(roles, actions[game["game_id"]])
        assert end.winner == game["winner_side"]
        assert {seat["user_id"] for seat in seats if seat["survived"]} == set(end.alive)
        assert all(seat["won"] == (SIDES[roles[seat["user_id"]]] == end.winner) for seat in seats)


def test_nobody_is_in_two_games_at_once(platform: dict[str, list[Row]]) -> None:
    games = {game["game_id"]: game for game in platform["games"]}
    played = defaultdict(list)
    for seat in platform["player_sessions"]:
        game = games[seat["game_id"]]
        played[seat["user_id"]].append((game["started_at"], game["ended_at"] or UNTIL))
    for spans in played.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_no_balance_falls_below_zero(platform: dict[str, list[Row]]) -> None:
    balances: dict[int, Decimal] = defaultdict(Decimal)
    for row in platform["currency_transactions"]:
        assert row["amount"] > 0
        balances[row["user_id"]] += (
            row["amount"] if row["transaction_type"] in ("purchase", "reward") else -row["amount"]
        )
        assert balances[row["user_id"]] >= 0
    assert {row["transaction_type"] for row in platform["currency_transactions"]} == {
        "purchase",
        "reward",
        "spend",
        "refund",
    }


def test_the_level_follows_from_the_games_played(platform: dict[str, list[Row]]) -> None:
    ended = {game["game_id"] for game in platform["games"] if game["ended_at"]}
    played = Counter(seat["user_id"] for seat in platform["player_sessions"] if seat["game_id"] in ended)
    assert all(user["level"] == mafia.level(played[user["user_id"]]) for user in platform["users"])
    assert len({user["username"] for user in platform["users"]}) == len(platform["users"])


def test_visits_begin_after_signing_up(platform: dict[str, list[Row]]) -> None:
    joined = {user["user_id"]: user["created_at"] for user in platform["users"]}
    assert all(joined[event["user_id"]] <= event["occurred_at"] for event in platform["access_events"])


# The school


def test_a_session_counts_its_practice_and_its_focus_events_lie_in_it(school: dict[str, list[Row]]) -> None:
    sessions = {row["session_number"]: row for row in school["sessions"]}
    practised = Counter[str]()
    for row in school["mastery_changes"]:
        practised[row["learner_id"]] += row["responses"]
    counted = Counter[str]()
    for row in sessions.values():
        assert 0 <= row["correct_responses"] <= row["responses"]
        assert row["ended_at"] is None or row["started_at"] < row["ended_at"] == row["updated_at"]
        counted[row["learner_id"]] += row["responses"]
    assert practised == counted
    for event in school["focus_events"]:
        session = sessions[event["session_number"]]
        assert session["learner_id"] == event["learner_id"]
        assert session["started_at"] < event["occurred_at"] <= (session["ended_at"] or UNTIL)


def test_no_learner_has_two_sessions_at_once(school: dict[str, list[Row]]) -> None:
    by_learner = defaultdict(list)
    for row in school["sessions"]:
        by_learner[row["learner_id"]].append((row["started_at"], row["ended_at"] or UNTIL))
    for spans in by_learner.values():
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(sorted(spans)))


def test_homework_is_started_submitted_and_graded_in_this_order(school: dict[str, list[Row]]) -> None:
    assigned = {row["homework_id"]: row for row in school["homework"]}
    submissions = defaultdict(list)
    for event in school["homework_events"]:
        submissions[event["homework_id"], event["learner_id"]].append(event)
    seen = Counter[str]()
    for (homework, _), events in submissions.items():
        given, answers = assigned[homework], 0
        did = [event["event_type"] for event in events]
        assert did == sorted(did, key=["started", "submitted", "graded"].index)
        assert did[0] == "started"
        assert did.count("graded") <= 1
        assert given["assigned_at"] < events[0]["occurred_at"]
        for event in events:
            answers = event["answers_correct"] or answers
            assert event["score"] is None or event["score"] == curriculum.score(given["questions"], answers)
        seen.update(did)
    assert min(seen.values()) > 20


def test_practice_makes_better(school: dict[str, list[Row]]) -> None:
    first: dict[tuple[str, int], Decimal] = {}
    last: dict[tuple[str, int], Decimal] = {}
    for row in school["mastery_changes"]:
        assert 0 <= row["mastery"] <= 1
        first.setdefault(key := (row["learner_id"], row["skill_id"]), row["mastery"])
        last[key] = row["mastery"]
    assert sum(last[key] > first[key] for key in first) > 0.7 * sum(last[key] != first[key] for key in first)


def test_a_recommendation_is_accepted_dismissed_or_left(school: dict[str, list[Row]]) -> None:
    answers = Counter(
        "accepted" if row["accepted_at"] else "dismissed" if row["dismissed_at"] else "left"
        for row in school["recommendations"]
    )
    assert min(answers["accepted"], answers["dismissed"], answers["left"]) > 20
    assert not any(row["accepted_at"] and row["dismissed_at"] for row in school["recommendations"])


# The software house


def test_an_issue_is_what_its_history_says(house: dict[str, list[Row]]) -> None:
    history = defaultdict(list)
    for row in house["issue_status_history"]:
        history[row["issue_id"]].append(row)
    for issue in house["issues"]:
        changes = history[issue["issue_id"]]
        assert changes[0]["status"] == "open"
        assert changes[0]["changed_at"] == issue["created_at"]
        assert changes[-1]["status"] == issue["status"]
        assert changes[-1]["changed_at"] <= issue["updated_at"]
        assert all(before["changed_at"] < after["changed_at"] for before, after in itertools.pairwise(changes))
    assert {issue["status"] for issue in house["issues"]} == {"open", "in progress", "in review", "done", "cancelled"}
    assert len(house["issue_status_history"]) > 2 * len(house["issues"])


def test_a_review_cycle_goes_through_its_milestones(house: dict[str, list[Row]]) -> None:
    reviews = defaultdict(list)
    for review in house["reviews"]:
        reviews[review["cycle_id"]].append(review)
    stages = Counter[str]()
    for cycle in house["review_cycles"]:
        done = [review["completed_at"] for review in reviews[cycle["cycle_id"]]]
        if cycle["reviewed_at"]:
            assert done
            assert all(at and at < cycle["reviewed_at"] for at in done)
        assert cycle["finished_at"] is None or cycle["reviewed_at"] < cycle["finished_at"]
        assert cycle["started_at"] is None or all(
            review["opened_at"] > cycle["started_at"] for review in reviews[cycle["cycle_id"]]
        )
        stages["finished" if cycle["finished_at"] else "started" if cycle["started_at"] else "planned"] += 1
    assert min(stages["finished"], stages["started"], stages["planned"]) > 0


def test_what_is_linked_belongs_to_one_project(house: dict[str, list[Row]]) -> None:
    project_of_cycle = {row["cycle_id"]: row["project_id"] for row in house["review_cycles"]}
    project_of_review = {row["review_id"]: project_of_cycle[row["cycle_id"]] for row in house["reviews"]}
    project_of_issue = {row["issue_id"]: row["project_id"] for row in house["issues"]}
    assert house["issue_reviews"]
    for link in house["issue_reviews"]:
        assert project_of_issue[link["issue_id"]] == project_of_review[link["review_id"]]
    for table, pair in (
        ("issue_reviews", ("issue_id", "review_id")),
        ("project_services", ("project_id", "service_id")),
        ("project_members", ("project_id", "user_id")),
        ("service_metrics", ("service_id", "measured_on")),
    ):
        pairs = [tuple(row[name] for name in pair) for row in house[table]]
        assert len(set(pairs)) == len(pairs)


def test_services_are_measured_every_day_and_money_is_booked_late(house: dict[str, list[Row]]) -> None:
    days = Counter(row["service_id"] for row in house["service_metrics"])
    assert set(days.values()) == {59}
    late = [row for row in house["expenses"] if row["updated_at"].date() > row["spent_on"]]
    assert 0.2 < len(late) / len(house["expenses"]) < 0.7
    assert all(row["spent_on"] <= row["updated_at"].date() for row in house["expenses"])


@pytest.mark.parametrize("seed", range(5))
def test_every_status_leads_to_a_closed_one(seed: int) -> None:
    rng, status, steps = random.Random(seed), "open", 0
    while status not in delivery.CLOSED:
        status, steps = delivery.next_status(status, rng), steps + 1
    assert steps < 40


# The parts


def test_copy_text_keeps_every_character_and_null() -> None:
    assert list(_lines([["a\tb\nc\\d\re", None, Decimal("1.50"), True, UNTIL]])) == [
        "a\\tb\\nc\\\\d\\re\t\\N\t1.50\tTrue\t2026-01-01T00:00:00+00:00\n"
    ]


def test_mail_addresses_are_plain_and_reserved() -> None:
    assert people.email("Léa", "Weißmüller", 5, random.Random(1)).startswith("lea.weissmuller5@example.")


@pytest.mark.parametrize("cents", [99, 1009, 2519, 123459])
def test_a_new_price_is_another_one(cents: int) -> None:
    assert all(retail.new_price(cents, random.Random(seed)) not in (cents, 0) for seed in range(50))
