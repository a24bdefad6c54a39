/*
description: A platform's share is its games over the year's games, which are the facts of that year.
*/
with years as (
    select year(released_on) as release_year, count(*) as games
    from fact_games
    where released_on is not null and not is_deleted
    group by year(released_on)
)

select shares.platform_id, shares.release_year, shares.games_in_year, years.games, shares.share
from mart_platform_share_by_year as shares
left join years on years.release_year = shares.release_year
where shares.games_in_year is distinct from years.games
    or shares.share not between 0 and 1
    or abs(shares.share * shares.games_in_year - shares.games) > 1e-6
