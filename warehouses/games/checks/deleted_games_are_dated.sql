/*
description: A game is marked deleted with the time it was missed, and only then.
*/
select game_id, is_deleted, deleted_at
from fact_games
where is_deleted <> (deleted_at is not null)
