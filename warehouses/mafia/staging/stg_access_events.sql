select
    event_id,
    user_id,
    lower(trim(event_type)) as event_type,
    ip_address,
    nullif(trim(device), '') as device,
    occurred_at
from access_events
