select
    action_id,
    game_id,
    lower(trim(phase)) as phase,
    round,
    lower(trim(action_type)) as action_type,
    actor_user_id,
    target_user_id,
    occurred_at
from game_actions
