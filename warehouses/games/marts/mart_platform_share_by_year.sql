/*
grain: [platform_id, release_year]
*/
-- The share of a year's dated games that came out on a platform; shares of a year sum to more than 1.
with games as (
    select game_id, year(released_on) as release_year
    from fact_games
    where released_on is not null and not is_deleted
),

years as (
    select release_year, count(*) as games_in_year
    from games
    group by release_year
)

select
    platforms.platform_id,
    platforms.name as platform,
    years.release_year,
    years.games_in_year,
    count(*) as games,
    count(*) / years.games_in_year as share
from games
join years on years.release_year = games.release_year
join bridge_game_platform as pairs on pairs.game_id = games.game_id
join dim_platform as platforms on platforms.platform_key = pairs.platform_key
group by platforms.platform_id, platforms.name, years.release_year, years.games_in_year
