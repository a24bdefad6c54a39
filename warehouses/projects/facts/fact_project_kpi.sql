/*
grain: [project_id, kpi_on]
load: snapshot daily
date: kpi_on
times:
  stg_issue_status_history: {valid_from: changed_at, created_at: changed_at, order: valid_time}
  stg_expenses: {valid_from: spent_at, created_at: spent_at, order: valid_time}
keys:
  date_key: dim_date(kpi_on)
  project_key: dim_project(project_id) as of kpi_at
  client_key: dim_client(client_id) as of kpi_at
  project_type_key: {dimension: dim_project_type, on: {type_id: type_id}, as_of: kpi_at}
checks:
  - not_null: [budget, spent]
  - range: {throughput: [0, null], overdue_issues: [0, null]}
  - identity: overdue_issues <= open_issues
*/
-- Each project as it stood when the day ended. What was booked late counts from the day it was spent on.
with history as (
    select
        issue_id,
        arg_max(status, (changed_at, change_id)) in ('done', 'cancelled') as is_closed,
        max(changed_at) filter (status = 'done')::date = run_date() as is_done_today
    from stg_issue_status_history
    where changed_at < run_date() + 1
    group by issue_id
),

issues as (
    select
        issues.project_id,
        count(*) filter (not history.is_closed) as open_issues,
        count(*) filter (history.is_closed) as closed_issues,
        count(*) filter (not history.is_closed and issues.due_on < run_date()) as overdue_issues,
        count(*) filter (history.is_closed and history.is_done_today) as throughput
    from stg_issues as issues
    join history on history.issue_id = issues.issue_id
    group by issues.project_id
),

spent as (
    select
        project_id,
        sum(amount)::decimal(18, 2) as spent,
        coalesce(sum(amount) filter (spent_on = run_date()), 0)::decimal(18, 2) as spent_today
    from stg_expenses
    where spent_on <= run_date()
    group by project_id
)

select
    projects.project_id,
    run_date() as kpi_on,
    run_date() + interval '1 day' - interval '1 microsecond' as kpi_at,
    projects.client_id,
    projects.type_id,
    projects.status,
    coalesce(issues.open_issues, 0) as open_issues,
    coalesce(issues.closed_issues, 0) as closed_issues,
    coalesce(issues.overdue_issues, 0) as overdue_issues,
    coalesce(issues.throughput, 0) as throughput,
    projects.budget,
    coalesce(spent.spent, 0)::decimal(18, 2) as spent,
    coalesce(spent.spent_today, 0)::decimal(18, 2) as spent_today,
    round(coalesce(spent.spent, 0) / projects.budget, 6) as budget_burn
from stg_projects as projects
left join issues on issues.project_id = projects.project_id
left join spent on spent.project_id = projects.project_id
