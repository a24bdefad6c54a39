/*
description: The marts' totals are those of the facts and bridges.
*/
with dated as (
    select game_id, year(released_on) as release_year
    from fact_games
    where released_on is not null and not is_deleted
),

expected as (
    select 'mart_games_by_genre_year' as mart, release_year, count(*) as games
    from dated
    join bridge_game_genre using (game_id)
    group by release_year
    union all
    select 'mart_platform_share_by_year', release_year, count(*)
    from dated
    join bridge_game_platform using (game_id)
    group by release_year
    union all
    select 'mart_top_rated', 0, count(*)
    from fact_games
    where ratings_count >= 50 and not is_deleted
),

actual as (
    select 'mart_games_by_genre_year' as mart, release_year, sum(games) as games
    from mart_games_by_genre_year
    group by release_year
    union all
    select 'mart_platform_share_by_year', release_year, sum(games)
    from mart_platform_share_by_year
    group by release_year
    union all
    select 'mart_top_rated', 0, count(*)
    from mart_top_rated
)

select
    coalesce(expected.mart, actual.mart) as mart,
    coalesce(expected.release_year, actual.release_year) as release_year,
    expected.games as expected_games,
    actual.games as actual_games
from expected
full join actual on actual.mart = expected.mart and actual.release_year = expected.release_year
where expected.games is distinct from actual.games
