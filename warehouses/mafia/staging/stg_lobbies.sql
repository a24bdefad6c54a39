select
    lobby_id,
    trim(lobby_name) as lobby_name,
    max_players,
    is_private,
    created_at,
    updated_at
from lobbies
