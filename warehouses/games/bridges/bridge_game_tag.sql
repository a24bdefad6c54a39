/*
grain: [game_id, tag_id]
keys:
  tag_key: dim_tag(tag_id)
*/
select
    games.game_id,
    listed.tag_id
from stg_games as games
cross join unnest(games.tag_ids) as listed(tag_id)
