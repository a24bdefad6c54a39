/*
grain: [game_id, store_id]
keys:
  store_key: dim_store(store_id)
*/
select
    games.game_id,
    listed.store_id
from stg_games as games
cross join unnest(games.store_ids) as listed(store_id)
