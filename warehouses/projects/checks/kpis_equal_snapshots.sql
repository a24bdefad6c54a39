/*
description: Open and closed issues of a project are those of its issues' snapshots, on each day both have.
*/
with counted as (
    select
        project_id,
        snapshot_on,
        count(*) filter (is_open) as open_issues,
        count(*) filter (is_closed) as closed_issues
    from fact_issue_snapshot
    group by project_id, snapshot_on
)

select
    kpi.project_id,
    kpi.kpi_on,
    kpi.open_issues,
    counted.open_issues as open_in_snapshots,
    kpi.closed_issues,
    counted.closed_issues as closed_in_snapshots
from fact_project_kpi as kpi
join counted on counted.project_id = kpi.project_id and counted.snapshot_on = kpi.kpi_on
where kpi.open_issues <> counted.open_issues or kpi.closed_issues <> counted.closed_issues
