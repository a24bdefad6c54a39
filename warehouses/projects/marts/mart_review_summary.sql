/*
grain: project_id
*/
-- A review's findings are shared by the issues it was about, so that they add up over issues as well.
with cycles as (
    select
        project_id,
        count(*) as cycles,
        count(finished_at) as finished,
        count(*) filter (is_late) as late,
        sum(reviews)::bigint as reviews,
        sum(approved_reviews)::bigint as approved_reviews,
        sum(findings)::bigint as findings,
        round(avg(days_planned_to_started), 2) as average_days_to_start,
        round(avg(days_started_to_reviewed), 2) as average_days_to_review,
        round(avg(days_planned_to_finished), 2) as average_days_to_finish
    from fact_review_cycle
    group by project_id
),

reviewed as (
    select issues.project_id, count(distinct links.issue_id) as issues_reviewed
    from brg_issue_review as links
    join dim_issue as issues on issues.issue_key = links.issue_key
    group by issues.project_id
),

projects as (
    select project_id, name
    from dim_project
    where project_key <> 0
    qualify row_number() over (partition by project_id order by effective_from desc) = 1
)

select
    cycles.project_id,
    projects.name as project,
    cycles.cycles,
    cycles.finished,
    cycles.late,
    cycles.reviews,
    cycles.approved_reviews,
    cycles.findings,
    coalesce(reviewed.issues_reviewed, 0) as issues_reviewed,
    cycles.average_days_to_start,
    cycles.average_days_to_review,
    cycles.average_days_to_finish
from cycles
left join projects on projects.project_id = cycles.project_id
left join reviewed on reviewed.project_id = cycles.project_id
