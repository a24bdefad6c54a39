select
    event_id,
    session_number,
    learner_id,
    lower(trim(event_type)) as event_type,
    lower(trim(cause)) as cause,
    occurred_at,
    updated_at
from focus_events
