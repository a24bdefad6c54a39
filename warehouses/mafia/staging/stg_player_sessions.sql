select
    session_id,
    game_id,
    user_id,
    role_id,
    joined_at,
    left_at,
    survived,
    won,
    updated_at
from player_sessions
