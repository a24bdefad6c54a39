"""`seed` and `mutate` on a real PostgreSQL: nothing of a user's is lost, and what they tell is what they did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from database import DatabaseServer, running

from starberg.entrypoints.bootstrap import open_lake
from starberg.entrypoints.lake import Lake
from starberg.samples.operational import life
from starberg.samples.operational.life import Done, mutate
from starberg.samples.operational.seeding import is_seeded, seed
from starberg.samples.operational.system import Size
from starberg.samples.operational.systems import SYSTEMS
from starberg.utils.clock import Clock
from starberg.utils.errors import CredentialsError, StarbergError, Unreachable, UsageError
from starberg.utils.settings import Settings

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = Size(people=60, days=15, seed=7, until=UNTIL)
TABLES = {
    "retail": {"operations": ["customers", "products", "sales"]},
    "mafia": {
        "user_service": ["users", "currency_transactions", "access_events"],
        "game_service": ["lobbies", "roles", "games", "player_sessions", "game_actions"],
    },
    "learning": {
        "oltp": [
            *("tenants", "users", "learners", "subjects", "skills", "sessions", "focus_events", "homework"),
            *("homework_events", "mastery_changes", "recommendations"),
        ],
    },
    "projects": {
        "operations": [
            *("clients", "project_types", "users", "services", "projects", "project_members", "project_services"),
            *("issues", "issue_status_history", "issue_analytics", "review_cycles", "reviews", "issue_reviews"),
            *("service_metrics", "expenses"),
        ],
    },
}


class Ticking(Clock):
    """A clock that goes on a millisecond each time somebody looks."""

    def __init__(self) -> None:
        self.at = UNTIL

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at


class Applications:
    """The databases of a system, on the tests' server."""

    def __init__(self, server: DatabaseServer, warehouse: str) -> None:
        self.system, self.tables = SYSTEMS[warehouse], TABLES[warehouse]
        self.databases = {name: server.database() for name in self.system.databases}

    def connect(self, name: str) -> Any:
        return self.databases[name].connect()

    def seed(self, size: Size = SMALL, *, replace: bool = False) -> dict[str, int]:
        return {line["table"]: line["rows"] for line in seed(self.system, self.connect, size, replace=replace)}

    def mutate(self, transactions: int, *, seed: int = 7, sessions: int = 1, clock: Clock | None = None) -> list[Done]:
        return mutate(self.system, self.connect, transactions=transactions, seed=seed, sessions=sessions, clock=clock)

    def note(self, what: str, kind: str) -> None:
        """Note something of each row that is written, in a table `noted` of each database."""
        for name, database in self.databases.items():
            database.run(f"create table noted (what {kind})")
            for table in self.tables[name]:
                database.run(
                    f"create function note_{table}() returns trigger language plpgsql as "
                    f"$$begin insert into noted values ({what}); return null; end$$",
                    f"create trigger note after insert or update or delete on {table} "
                    f"for each row execute function note_{table}()",
                )

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table: self.databases[name].rows(f"select * from {table} order by 1")
            for name, tables in self.tables.items()
            for table in tables
        }

    def counts(self) -> dict[str, int]:
        return {table: len(found) for table, found in self.rows().items()}


@pytest.fixture(params=SYSTEMS)
def apps(request: pytest.FixtureRequest, postgres_server: DatabaseServer) -> Iterator[Applications]:
    postgres_server.server.start()
    made = Applications(postgres_server, request.param)
    yield made
    for database in made.databases.values():
        postgres_server.drop(database)


@pytest.fixture
def shop(postgres_server: DatabaseServer) -> Iterator[Applications]:
    postgres_server.server.start()
    made = Applications(postgres_server, "retail")
    yield made
    postgres_server.drop(made.databases["operations"])


# seed


def test_what_seed_tells_is_what_is_there(apps: Applications) -> None:
    assert not is_seeded(apps.system, apps.connect)
    assert apps.seed() == apps.counts()
    assert is_seeded(apps.system, apps.connect)


def test_the_next_keys_come_after_the_seeded_ones(shop: Applications) -> None:
    shop.seed()
    database = shop.databases["operations"]
    [(top,)] = database.rows("select max(customer_id) from customers")
    database.run(
        "insert into customers (first_name, last_name, email, street, city, postal_code, country, segment, created_at, "
        "updated_at) values ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', now(), now())"
    )
    assert database.rows("select max(customer_id) from customers") == [(top + 1,)]


@pytest.mark.parametrize("statement", ["create table mine (id int)", "create view mine as select 1 as a"])
def test_a_database_that_is_not_empty_is_left_alone(shop: Applications, statement: str) -> None:
    shop.databases["operations"].run(statement)
    with pytest.raises(UsageError, match=r"is not empty: it has mine\. .*--yes, which adds customers, products, sales"):
        shop.seed()
    assert shop.databases["operations"].rows("select relname from pg_class where relname = 'customers'") == []


def test_yes_makes_the_tables_anew_and_keeps_the_others(shop: Applications) -> None:
    shop.seed()
    database = shop.databases["operations"]
    database.run("create table mine (id int)", "insert into mine values (1)", "delete from sales")
    with pytest.raises(UsageError, match=r"has customers, mine, products, sales\. .* which drops customers, products"):
        shop.seed()
    assert shop.counts()["sales"] == 0
    shop.seed(replace=True)
    assert shop.counts()["sales"] > 0
    assert database.rows("select * from mine") == [(1,)]


def test_if_one_database_refuses_none_is_changed(postgres_server: DatabaseServer) -> None:
    apps = Applications(postgres_server, "mafia")
    apps.databases["game_service"].run("create table mine (id int)")
    with pytest.raises(UsageError, match="mine"):
        apps.seed()
    for database in apps.databases.values():
        assert database.rows("select relname from pg_class where relname in ('users', 'games')") == []
        postgres_server.drop(database)


def test_a_table_others_depend_on_is_not_dropped(shop: Applications) -> None:
    shop.seed()
    before = shop.rows()
    shop.databases["operations"].run("create view best as select customer_id from customers")
    with pytest.raises(Exception, match="other objects depend on them"):
        shop.seed(Size(10, 10, 8, UNTIL), replace=True)
    assert shop.rows() == before


# mutate


@pytest.mark.parametrize("sessions", [1, 4])
def test_what_mutate_tells_is_what_it_did(apps: Applications, sessions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_STAYS_OPEN", 0.5)  # by chance alone a few hundred transactions may have none
    apps.seed()
    before = apps.counts()
    apps.note("tg_op", "text")
    done = apps.mutate(300, sessions=sessions)
    noted = Counter(op for database in apps.databases.values() for (op,) in database.rows("select what from noted"))
    assert sum(one.transactions for one in done) == 300
    assert sum(one.inserted for one in done) == noted["INSERT"] > 0
    assert sum(one.updated for one in done) == noted["UPDATE"] > 0
    assert sum(one.deleted for one in done) == noted["DELETE"] > 0
    assert sum(apps.counts().values()) - sum(before.values()) == noted["INSERT"] - noted["DELETE"]
    assert sum(one.late for one in done) > 0
    assert len(done) > len(apps.system.kinds) * 0.8


def test_a_seed_in_one_session_does_the_same_again(apps: Applications) -> None:
    apps.seed()
    first = apps.mutate(150, clock=Ticking())
    found = apps.rows()
    apps.seed(replace=True)
    assert apps.mutate(150, clock=Ticking()) == first
    assert apps.rows() == found
    apps.seed(replace=True)
    apps.mutate(150, seed=8, clock=Ticking())
    assert apps.rows() != found


def test_days_are_lived_one_after_the_other(apps: Applications) -> None:
    """What is written is stamped by the day that is lived."""
    apps.seed(Size(people=30, days=8, seed=7, until=UNTIL))
    columns = {
        (name, table): [
            column
            for (column,) in database.rows(
                f"select column_name from information_schema.columns where table_name = '{table}' "
                "and data_type like 'timestamp%' and column_name <> 'due_at'"
            )
        ]
        for name, database in apps.databases.items()
        for table in apps.tables[name]
    }

    def newest() -> datetime:
        found = [
            at
            for (name, table), names in columns.items()
            for column in names
            for (at,) in apps.databases[name].rows(f"select max({column}) from {table}")
            if at
        ]
        return max(found)

    assert newest() < UNTIL
    for number in range(2):
        day = UNTIL + timedelta(days=number)
        done = mutate(apps.system, apps.connect, transactions=80, seed=7, day=day.date())
        assert sum(one.transactions for one in done) == 80
        assert day + timedelta(hours=20) < newest() < day + timedelta(days=1)


def test_what_a_school_and_a_house_do_keeps_their_rules(postgres_server: DatabaseServer) -> None:
    school, house = Applications(postgres_server, "learning"), Applications(postgres_server, "projects")
    for apps in (school, house):
        apps.seed()
        for number in range(4):
            day = (UNTIL + timedelta(days=number)).date()
            mutate(apps.system, apps.connect, transactions=250, seed=number, day=day)
    found = school.databases["oltp"].rows(
        "select session_number from sessions join focus_events using (session_number) "
        "where occurred_at < started_at or occurred_at > ended_at"
    )
    assert found == []
    issues = (
        "select i.issue_id from issues i join lateral (select status from issue_status_history h "
        "where h.issue_id = i.issue_id order by changed_at desc, change_id desc limit 1) h on true "
        "where h.status <> i.status"
    )
    assert house.databases["operations"].rows(issues) == []
    [(late,)] = house.databases["operations"].rows(
        "select count(*) from issue_status_history where changed_at < updated_at - interval '6 hours'"
    )
    [(synced,)] = school.databases["oltp"].rows(
        "select count(*) from mastery_changes where changed_at < updated_at - interval '6 hours'"
    )
    assert late > 3
    assert synced > 10
    for apps in (school, house):
        for database in apps.databases.values():
            postgres_server.drop(database)


def test_an_empty_database_has_nothing_to_change(shop: Applications) -> None:
    shop.seed()
    shop.databases["operations"].run("delete from sales", "delete from customers", "delete from products")
    done = {one.kind for one in shop.mutate(20)}
    assert "customer joins" in done
    assert "customer moves" in done  # those who joined


def test_nothing_stays_open(apps: Applications) -> None:
    apps.seed()
    apps.mutate(60, sessions=3)
    for database in apps.databases.values():
        [(others,)] = database.rows(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert others == 0


def test_what_has_happened_keeps_the_rules(shop: Applications) -> None:
    shop.seed()
    shop.mutate(600)
    database = shop.databases["operations"]
    assert database.rows("select count(*) from sales where amount <> quantity * unit_price - discount") == [(0,)]
    twice = "select customer_id, product_id, unit_price, abs(quantity) from sales group by all having sum(quantity) < 0"
    assert database.rows(twice.replace("group by all", "group by 1, 2, 3, 4")) == []
    assert database.rows("select count(*) from customers where updated_at > created_at")[0][0] > 0


def test_a_balance_never_falls_below_zero(postgres_server: DatabaseServer) -> None:
    apps = Applications(postgres_server, "mafia")
    apps.seed()
    apps.mutate(400, sessions=4)
    below = apps.databases["user_service"].rows(
        "select user_id from currency_transactions group by 1 "
        "having sum(case when transaction_type in ('purchase', 'reward') then amount else -amount end) < 0"
    )
    assert below == []
    for database in apps.databases.values():
        postgres_server.drop(database)


def test_a_late_transaction_commits_after_younger_ones() -> None:
    """PostgreSQL itself remembers when each was committed."""
    with running(track_commit_timestamp="on") as server:
        apps = Applications(server, "retail")
        apps.seed()
        apps.note("clock_timestamp()", "timestamptz")
        done = apps.mutate(300)
        overtaken = apps.databases["operations"].rows(
            "with t as (select xmin::text as tx, max(what) as at, min(pg_xact_commit_timestamp(xmin)) as committed "
            "from noted group by 1) "
            "select tx from t where exists (select from t y where y.at > t.at and y.committed < t.committed)"
        )
    assert len(overtaken) == sum(one.late for one in done) > 5


def test_other_sessions_are_not_waited_for(shop: Applications) -> None:
    """A row somebody holds is passed over."""
    shop.seed()
    holder = shop.databases["operations"].connect()
    with holder.cursor() as cursor:
        cursor.execute("update customers set city = 'held' where customer_id % 2 = 0")
        shop.mutate(60)
        holder.commit()
    assert shop.databases["operations"].rows("select count(*) from customers where city = 'held'")[0][0] >= 30
    holder.close()


# Where the databases are


def lake(home: Path, **environ: str) -> Lake:
    return open_lake(Settings.load(None, {"STARBERG_HOME": str(home)}, environ))


def test_a_database_is_where_the_source_is_declared_or_where_url_says(shop: Applications, tmp_path: Path) -> None:
    url = shop.databases["operations"].url
    written = lake(tmp_path, RETAIL_DATABASE_URL=url).seed("retail", people=20, days=5)
    assert {line["table"]: line["rows"] for line in written} == shop.counts()
    for typed in (url, f"operations={url}"):
        done = lake(tmp_path).mutate("retail", [typed], transactions=5, sessions=2)
        assert done[-1]["kind"] == "all"
        assert done[-1]["transactions"] == 5


def test_the_parts_of_an_address_come_from_settings(postgres_server: DatabaseServer, tmp_path: Path) -> None:
    apps = Applications(postgres_server, "mafia")
    environ = {}
    for name, database in apps.databases.items():
        where = urlsplit(database.url)
        parts = {"HOST": where.hostname, "PORT": where.port, "NAME": where.path[1:], "USER": where.username}
        environ |= {f"{name.upper()}_DB_{part}": str(value) for part, value in parts.items()}
        environ[f"{name.upper()}_DB_PASSWORD"] = str(where.password)
    written = lake(tmp_path, **environ).seed("mafia", people=20, days=5)
    assert {line["table"]: line["rows"] for line in written} == apps.counts()
    for database in apps.databases.values():
        postgres_server.drop(database)


@pytest.mark.parametrize(
    ("warehouse", "urls", "said"),
    [
        ("retail", [], r"source operations needs RETAIL_DATABASE_URL, which is not set\. .*--url"),
        ("retail", ["mysql://u:canary@h/d"], r"--url is no postgresql:// URL"),
        ("retail", ["postgresql://u:can/ary@h/d"], r"--url is no URL\. In a password write / as %2F"),
        ("retail", ["postgresql://u:can#ary@h/d"], r"--url is no URL"),
        ("retail", ["postgresql://u:1/canary@h/d"], r"--url is no URL"),
        ("retail", ["shop=postgresql://u:canary@h/d"], r"each --url is for one of operations\."),
        (
            "mafia",
            ["postgresql://u:canary@h/d"],
            r"--url user_service=postgresql://… --url game_service=postgresql://…",
        ),
        ("games", ["postgresql://u:canary@h/d"], r"no sample database for games"),
    ],
)
def test_a_wrong_address_is_explained_without_its_password(
    tmp_path: Path, warehouse: str, urls: list[str], said: str
) -> None:
    for ask in (lake(tmp_path).seed, lake(tmp_path).mutate):
        with pytest.raises(StarbergError, match=said) as refused:
            ask(warehouse, urls)
        assert not any(part in str(refused.value) for part in ("canary", "can/", "can#"))


def test_what_the_server_says_is_passed_on(shop: Applications, tmp_path: Path) -> None:
    url = shop.databases["operations"].url
    with pytest.raises(UsageError, match=r'relation "customers" does not exist\. .*`starberg seed`'):
        lake(tmp_path).mutate("retail", [url])
    guessed = urlsplit(url)
    guessed = guessed._replace(netloc=f"starberg:canary@127.0.0.1:{guessed.port}")
    with pytest.raises(CredentialsError, match="password authentication failed") as refused:
        lake(tmp_path).seed("retail", [guessed.geturl()])
    assert "canary" not in str(refused.value)
    with pytest.raises(Unreachable, match="Connection refused"):
        lake(tmp_path).seed("retail", ["postgresql://u:canary@127.0.0.1:1/d"])
