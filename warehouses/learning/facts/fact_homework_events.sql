/*
grain: [homework_id, learner_id]
load: by date
date: started_on
keys:
  date_key: dim_date(started_on)
  tenant_key: dim_tenant(tenant_id) as of started_at
  learner_key: dim_learner(learner_id) as of started_at
  teacher_key: {dimension: dim_user, on: {user_id: teacher_id}}
  skill_key: dim_skill(skill_id)
checks:
  - accepted: {status: [started, submitted, graded]}
  - range: {score: [0, 100], attempts: [0, null]}
  - identity: (status = 'graded') = (score is not null)
*/
-- One row per learner's submission of a homework, of the day they started it: its events added up.
with submissions as (
    select
        homework_id,
        learner_id,
        min(occurred_at) as started_at,
        max(occurred_at) filter (event_type = 'submitted') as submitted_at,
        max(occurred_at) filter (event_type = 'graded') as graded_at,
        count(*) filter (event_type = 'submitted') as attempts,
        arg_max(answers_correct, event_id) filter (event_type = 'submitted') as answers_correct,
        arg_max(score, event_id) filter (event_type = 'graded') as score
    from stg_homework_events
    group by homework_id, learner_id
)

select
    submissions.homework_id,
    submissions.learner_id,
    homework.tenant_id,
    homework.teacher_id,
    homework.skill_id,
    homework.questions,
    submissions.attempts,
    submissions.answers_correct,
    submissions.score,
    case
        when submissions.graded_at is not null then 'graded'
        when submissions.submitted_at is not null then 'submitted'
        else 'started'
    end as status,
    coalesce(submissions.submitted_at > homework.due_at, false) as is_late,
    homework.assigned_at,
    homework.due_at,
    submissions.started_at,
    submissions.started_at::date as started_on,
    submissions.submitted_at,
    submissions.graded_at
from submissions
left join stg_homework as homework on homework.homework_id = submissions.homework_id
