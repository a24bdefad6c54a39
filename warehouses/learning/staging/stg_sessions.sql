/*
checks:
  - freshness: 48
*/
select
    session_number,
    session_id,
    tenant_id,
    learner_id,
    subject_id,
    lower(trim(device)) as device,
    started_at,
    ended_at,
    date_diff('second', started_at, ended_at) as duration_seconds,
    activities_completed,
    responses,
    correct_responses,
    updated_at
from sessions
