/*
grain: recommendation_id
load: by date
date: shown_on
keys:
  date_key: dim_date(shown_on)
  learner_key: dim_learner(learner_id) as of shown_at
  skill_key: dim_skill(skill_id)
checks:
  - accepted: {status: [shown, accepted, dismissed]}
  - range: {seconds_to_answer: [0, null]}
*/
select
    recommendation_id,
    learner_id,
    skill_id,
    reason,
    case
        when accepted_at is not null then 'accepted'
        when dismissed_at is not null then 'dismissed'
        else 'shown'
    end as status,
    shown_at,
    shown_at::date as shown_on,
    accepted_at,
    dismissed_at,
    date_diff('second', shown_at, coalesce(accepted_at, dismissed_at)) as seconds_to_answer
from stg_recommendations
