select
    game_id,
    lobby_id,
    lower(trim(status)) as status,
    lower(trim(winner_side)) as winner_side,
    started_at,
    ended_at,
    updated_at
from games
