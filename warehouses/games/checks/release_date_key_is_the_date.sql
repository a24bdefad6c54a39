/*
description: The release date's key is the date as yyyymmdd, 0 without a date.
*/
select game_id, released_on, release_date_key
from fact_games
where release_date_key <> coalesce(strftime(released_on, '%Y%m%d')::bigint, 0)
