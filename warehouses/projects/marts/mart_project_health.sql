/*
grain: project_id
*/
-- The last day that was snapshot: the budget that is burnt against the time that is gone.
with latest as (
    select *
    from fact_project_kpi
    where kpi_on = (select max(kpi_on) from fact_project_kpi)
),

week as (
    select project_id, sum(throughput)::bigint as throughput_7_days
    from fact_project_kpi
    where kpi_on > (select max(kpi_on) from fact_project_kpi) - 7
    group by project_id
),

team as (
    select project_id, count(*) as members
    from brg_project_user
    group by project_id
),

stated as (
    select
        latest.project_id,
        projects.name as project,
        clients.name as client,
        latest.status,
        latest.kpi_on,
        latest.open_issues,
        latest.overdue_issues,
        week.throughput_7_days,
        coalesce(team.members, 0) as members,
        latest.budget,
        latest.spent,
        latest.budget_burn,
        round(
            least(greatest((latest.kpi_on - projects.starts_on) / (projects.ends_on - projects.starts_on), 0), 1), 6
        ) as time_burn
    from latest
    join dim_project as projects on projects.project_key = latest.project_key
    join dim_client as clients on clients.client_key = latest.client_key
    left join week on week.project_id = latest.project_id
    left join team on team.project_id = latest.project_id
)

select
    *,
    case
        when budget_burn > 1 or budget_burn > time_burn + 0.25 then 'red'
        when budget_burn > time_burn + 0.1 or overdue_issues > open_issues / 3 then 'amber'
        else 'green'
    end as health
from stated
