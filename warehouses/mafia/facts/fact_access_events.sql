/*
grain: event_id
keys:
  user_key: dim_users(user_id) as of occurred_at
  time_key: dim_time(occurred_at)
*/
select event_id, user_id, event_type, ip_address, device, occurred_at
from stg_access_events
