-- Grain: one game as the list without filter shows it.
select
    id as game_id,
    platforms
from game_details
