/*
grain: game_id
keys:
  lobby_key: dim_lobbies(lobby_id)
  time_key: dim_time(started_at)
*/
-- Completed games only. A player who came back counts once.
with players as (
    select game_id, count(distinct user_id) as players
    from stg_player_sessions
    group by game_id
)

select
    games.game_id,
    games.lobby_id,
    games.winner_side,
    games.started_at,
    games.ended_at,
    date_diff('second', games.started_at, games.ended_at) as duration_seconds,
    coalesce(players.players, 0) as players
from stg_games as games
left join players on players.game_id = games.game_id
where games.status = 'completed'
