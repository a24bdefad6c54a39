/*
grain: action_id
keys:
  actor_key: dim_users(actor_user_id) as of occurred_at
  target_key: dim_users(target_user_id) as of occurred_at
  time_key: dim_time(occurred_at)
*/
select
    action_id,
    game_id,
    phase,
    round,
    action_type,
    actor_user_id,
    target_user_id,
    occurred_at
from stg_game_actions
