/*
natural_key: lobby_id
surrogate_key: lobby_key
*/
select lobby_id, lobby_name, max_players, is_private, created_at, updated_at
from stg_lobbies
