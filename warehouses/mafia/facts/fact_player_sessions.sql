/*
grain: session_id
keys:
  user_key: dim_users(user_id) as of played_at
  role_key: dim_roles(role_id)
  lobby_key: dim_lobbies(lobby_id)
  time_key: dim_time(played_at)
*/
-- Players of all games, also those that run or were abandoned; each as they were when the game started.
select
    sessions.session_id,
    sessions.game_id,
    sessions.user_id,
    sessions.role_id,
    games.lobby_id,
    coalesce(games.started_at, sessions.joined_at) as played_at,
    sessions.joined_at,
    sessions.left_at,
    sessions.survived,
    sessions.won
from stg_player_sessions as sessions
left join stg_games as games on games.game_id = sessions.game_id
