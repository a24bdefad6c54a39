/*
grain: cycle_id
load: accumulating
milestones: [planned_on, started_at, reviewed_at, finished_at]
keys:
  review_cycle_key: dim_review_cycle(cycle_id)
  project_key: dim_project(project_id)
  lead_key: {dimension: dim_user, on: {user_id: lead_id}}
  planned_date_key: dim_date(planned_on)
  started_date_key: dim_date(started_on)
  finished_date_key: dim_date(finished_on)
checks:
  - identity: completed_reviews <= reviews
  - relationship: {project_id: dim_project(project_id)}
    severity: warn
*/
-- One row per cycle, brought up to date as it reaches its milestones.
with reviews as (
    select
        cycle_id,
        count(*) as reviews,
        count(*) filter (completed_at is not null) as completed,
        count(*) filter (outcome = 'approved') as approved,
        sum(findings)::bigint as findings
    from stg_reviews
    group by cycle_id
)

select
    cycles.cycle_id,
    cycles.project_id,
    cycles.lead_id,
    cycles.planned_on,
    cycles.due_on,
    cycles.started_at,
    cycles.started_at::date as started_on,
    cycles.reviewed_at,
    cycles.finished_at,
    cycles.finished_at::date as finished_on,
    coalesce(reviews.reviews, 0) as reviews,
    coalesce(reviews.completed, 0) as completed_reviews,
    coalesce(reviews.approved, 0) as approved_reviews,
    coalesce(reviews.findings, 0) as findings,
    cycles.finished_at::date > cycles.due_on as is_late
from stg_review_cycles as cycles
left join reviews on reviews.cycle_id = cycles.cycle_id
