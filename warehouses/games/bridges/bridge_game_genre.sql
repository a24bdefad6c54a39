/*
grain: [game_id, genre_id]
keys:
  genre_key: dim_genre(genre_id)
*/
select
    games.game_id,
    listed.genre_id
from stg_games as games
cross join unnest(games.genre_ids) as listed(genre_id)
