/*
grain: [learner_id, skill_id, progress_on]
load: snapshot daily
date: progress_on
times:
  stg_mastery_changes: {valid_from: changed_at, created_at: changed_at, order: valid_time}
keys:
  date_key: dim_date(progress_on)
  learner_key: dim_learner(learner_id) as of progress_at
  skill_key: dim_skill(skill_id)
checks:
  - not_null: mastery
  - range: {mastery: [0, 1], days_since_practice: [0, null]}
*/
-- How well each learner had each skill they ever practised when the day ended.
with changes as (
    select
        learner_id,
        skill_id,
        arg_max(mastery, (changed_at, change_id)) as mastery,
        sum(responses)::bigint as responses,
        sum(correct_responses)::bigint as correct_responses,
        max(changed_at) as practised_at
    from stg_mastery_changes
    where changed_at < run_date() + 1
    group by learner_id, skill_id
)

select
    learner_id,
    skill_id,
    run_date() as progress_on,
    run_date() + interval '1 day' - interval '1 microsecond' as progress_at,
    mastery,
    mastery >= 0.8 as is_mastered,
    responses,
    correct_responses,
    practised_at,
    run_date() - practised_at::date as days_since_practice
from changes
