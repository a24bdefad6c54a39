/*
description: The release date's key is the date as yyyymmdd, 0 without a date.
*/
select game_id, released, release_date_key
from fact_games
where release_date_key <> coalesce(strftime(released, '%Y%m%d')::bigint, 0)
