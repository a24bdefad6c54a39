/*
severity: warn
description: A completed game has a winner and ended after it started.
*/
select game_id, winner_side, started_at, ended_at
from fact_games
where winner_side is null or ended_at is null or ended_at < started_at
