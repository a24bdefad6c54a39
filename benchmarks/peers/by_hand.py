"""The least one could write by hand: the same star from the same pages with DuckDB, as Parquet files.

    python by_hand.py build PAGES.jsonl FOLDER     the star from pages that requests_client.py wrote
    python by_hand.py run URL FOLDER               ask what changed since; if anything did, build anew

No history, no deletes, no checks, no publish, no log: a floor, not an alternative.
"""

import json
import sys
from pathlib import Path

import duckdb

STAR = {
    "dim_genre": "SELECT DISTINCT m.id, m.name, m.slug FROM (SELECT unnest(genres) AS m FROM games)",
    "dim_store": "SELECT DISTINCT m.store.id, m.store.name FROM (SELECT unnest(stores) AS m FROM games)",
    "dim_platform": "SELECT DISTINCT m.platform.id, m.platform.name FROM (SELECT unnest(platforms) AS m FROM games)",
    "dim_tag": "SELECT DISTINCT m.id, m.name, m.language FROM (SELECT unnest(tags) AS m FROM games)",
    "dim_esrb_rating": "SELECT DISTINCT esrb_rating.id, esrb_rating.name FROM games WHERE esrb_rating IS NOT NULL",
    "dim_date": "SELECT unnest(generate_series(DATE '1900-01-01', DATE '2099-12-31', INTERVAL 1 DAY))::DATE AS date",
    "bridge_game_genre": "SELECT DISTINCT id, m.id AS genre_id FROM (SELECT id, unnest(genres) AS m FROM games)",
    "bridge_game_store": "SELECT DISTINCT id, m.store.id AS store_id FROM (SELECT id, unnest(stores) AS m FROM games)",
    "bridge_game_platform": """
        SELECT DISTINCT g.id, g.m.platform.id AS platform_id, d.m.released_at, d.m.requirements_en
        FROM (SELECT id, unnest(platforms) AS m FROM games) g
        LEFT JOIN (SELECT id, unnest(platforms) AS m FROM details) d
            ON d.id = g.id AND d.m.platform.id = g.m.platform.id
    """,
    "bridge_game_tag": """
        SELECT DISTINCT id, m.id AS tag_id FROM (SELECT id, unnest(tags) AS m FROM games) WHERE m.language = 'eng'
    """,
    "fact_games": """
        SELECT id, slug, trim(name) AS name, released, tba, updated, rating, rating_top, ratings_count, reviews_count,
            reviews_text_count, added, metacritic, playtime, suggestions_count, esrb_rating.id AS esrb_rating_id,
            len(platforms) AS platforms, len(stores) AS stores, len(genres) AS genres, len(tags) AS tags
        FROM games
    """,
    "mart_games_by_genre_year": """
        SELECT m.id, m.name, year(released) AS released, count(*) AS games, avg(rating) AS rating
        FROM (SELECT released, rating, unnest(genres) AS m FROM games) GROUP BY ALL
    """,
    "mart_platform_share_by_year": """
        SELECT m.platform.id, year(released) AS released, count(*) AS games
        FROM (SELECT released, unnest(platforms) AS m FROM games) GROUP BY ALL
    """,
    "mart_top_rated": "SELECT id, name, rating FROM games WHERE ratings_count >= 50 ORDER BY rating DESC",
}
MEMBER = "STRUCT(id BIGINT, name VARCHAR, slug VARCHAR)"
TYPES = {
    **dict.fromkeys(("id", "rating_top", "ratings_count", "reviews_count", "reviews_text_count", "added"), "BIGINT"),
    **dict.fromkeys(("metacritic", "playtime", "suggestions_count"), "BIGINT"),
    **dict.fromkeys(("slug", "name"), "VARCHAR"),
    "released": "DATE",
    "updated": "TIMESTAMP",
    "tba": "BOOLEAN",
    "rating": "DOUBLE",
    "esrb_rating": MEMBER,
    "platforms": f"STRUCT(platform {MEMBER}, released_at DATE, requirements_en JSON)[]",
    "stores": f"STRUCT(store {MEMBER})[]",
    "genres": f"{MEMBER}[]",
    "tags": "STRUCT(id BIGINT, name VARCHAR, slug VARCHAR, language VARCHAR)[]",
}


def read(con: duckdb.DuckDBPyConnection, table: str, pages: Path | str, where: str) -> None:
    """Fill a table with the newest record of each game on pages in a file of JSON lines."""
    record = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    columns = f"{{path: 'VARCHAR', filtered: 'BOOLEAN', body: 'STRUCT(results STRUCT({record})[])'}}"
    source = f"read_json('{pages}', format = 'nd', maximum_object_size = 100000000, columns = {columns})"
    con.execute(
        f"CREATE TABLE {table} AS SELECT unnest(game) FROM (SELECT unnest(body.results) AS game FROM {source} "
        f"WHERE {where}) QUALIFY row_number() OVER (PARTITION BY game.id ORDER BY game.updated DESC) = 1"
    )


def write(con: duckdb.DuckDBPyConnection, folder: Path, tables: dict[str, str]) -> None:
    for name, select in tables.items():
        con.execute(f"COPY ({select}) TO '{folder / name}.parquet' (COMPRESSION zstd)")


def build(pages: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    con = duckdb.connect()
    read(con, "games", pages, "path = 'games'")
    read(con, "details", pages, "path = 'games' AND NOT filtered")
    write(con, folder, {"games": "FROM games", "details": "FROM details", **STAR})


def run(url: str, folder: Path) -> None:
    import requests

    con = duckdb.connect()
    [(since,)] = con.execute(f"SELECT max(updated)::DATE FROM '{folder}/games.parquet'").fetchall()
    pages = folder / "changed.jsonl"
    with requests.Session() as session, pages.open("w") as file:
        link = f"{url}/games?key=sample-key&page_size=40&ordering=-added&updated={since},2199-12-31"
        while link:
            page = session.get(link, timeout=60).json()
            file.write(json.dumps({"path": "games", "filtered": True, "body": page}) + "\n")
            link = page["next"]
    read(con, "changed", pages, "true")
    known = f"FROM '{folder}/games.parquet' k WHERE k.id = c.id AND md5(k::VARCHAR) = md5(c::VARCHAR)"
    [(changed,)] = con.execute(f"SELECT count(*) FROM changed c WHERE NOT EXISTS ({known})").fetchall()
    if changed:
        con.execute(f"CREATE TABLE games AS FROM '{folder}/games.parquet' WHERE id NOT IN (SELECT id FROM changed)")
        con.execute("INSERT INTO games FROM changed")
        con.execute(f"CREATE TABLE details AS FROM '{folder}/details.parquet'")
        write(con, folder, {"games": "FROM games", **STAR})
    print(changed)


how, source, target = sys.argv[1:]
{"build": build, "run": run}[how](source, Path(target))
