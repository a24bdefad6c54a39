/*
grain: [game_id, platform_id]
keys:
  platform_key: dim_platform(platform_id)
*/
select
    games.game_id,
    listed.platform_id
from stg_games as games
cross join unnest(games.platform_ids) as listed(platform_id)
