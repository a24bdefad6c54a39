/*
grain: session_id
load: by date
date: started_on
keys:
  date_key: dim_date(started_on)
  tenant_key: dim_tenant(tenant_id) as of started_at
  learner_key: dim_learner(learner_id) as of started_at
  subject_key: dim_subject(subject_id)
checks:
  - unique: session_key
  - not_null: [tenant_id, learner_id, started_at]
  - identity: correct_responses between 0 and responses
*/
-- Every session, of the day it started; one that runs has no duration yet.
select
    session_number as session_key,   -- the source's own number, unique as session_id is
    session_id,
    tenant_id,
    learner_id,
    subject_id,
    device,
    duration_seconds,
    activities_completed,
    responses,
    correct_responses,
    started_at,
    started_at::date as started_on,
    ended_at
from stg_sessions
