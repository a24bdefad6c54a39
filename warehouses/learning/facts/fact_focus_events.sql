/*
grain: event_id
load: by date
date: occurred_on
keys:
  date_key: dim_date(occurred_on)
  learner_key: dim_learner(learner_id) as of occurred_at
checks:
  - accepted: {event_type: [lost, regained]}
  - relationship: {session_key: stg_sessions(session_number)}
    severity: warn
*/
select
    event_id,
    session_number as session_key,
    learner_id,
    event_type,
    cause,
    occurred_at,
    occurred_at::date as occurred_on
from stg_focus_events
