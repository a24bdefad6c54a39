/*
grain: [issue_id, snapshot_on]
load: snapshot daily
date: snapshot_on
times:
  stg_processed_analytics: {valid_from: updated_at, created_at: processed_at}
  stg_issue_status_history: {valid_from: changed_at, created_at: changed_at, order: valid_time}
keys:
  date_key: dim_date(snapshot_on)
  issue_key: dim_issue(issue_id) as of snapshot_at
  project_key: dim_project(project_id) as of snapshot_at
  assignee_key: {dimension: dim_user, on: {user_id: assignee_id}, as_of: snapshot_at}
checks:
  - accepted: {status: [open, in progress, in review, done, cancelled]}
  - identity: is_open <> is_closed
  - range: {age_days: [0, null], days_in_status: [0, null]}
*/
-- Every issue there was when the day ended; its status and points are those of its history.
with history as (
    select
        issue_id,
        arg_max(status, (changed_at, change_id)) as status,
        arg_max({points: story_points}, (changed_at, change_id)).points as story_points,
        max(changed_at) as changed_at,
        max(changed_at) filter (status in ('done', 'cancelled')) as closed_at
    from stg_issue_status_history
    where changed_at < run_date() + 1
    group by issue_id
)

select
    issues.issue_id,
    run_date() as snapshot_on,
    run_date() + interval '1 day' - interval '1 microsecond' as snapshot_at,
    issues.project_id,
    issues.assignee_id,
    history.status,
    history.status not in ('done', 'cancelled') as is_open,
    history.status in ('done', 'cancelled') as is_closed,
    history.status not in ('done', 'cancelled') and coalesce(issues.due_on < run_date(), false) as is_overdue,
    run_date() - issues.created_at::date as age_days,
    run_date() - history.changed_at::date as days_in_status,
    history.story_points,
    issues.due_on,
    analytics.category,
    analytics.sentiment,
    analytics.root_cause,
    issues.created_at,
    if(history.status in ('done', 'cancelled'), history.closed_at, null) as closed_at
from stg_issues as issues
join history on history.issue_id = issues.issue_id
left join stg_processed_analytics as analytics on analytics.issue_id = issues.issue_id
