/*
grain: [service_id, month_end_on]
*/
with projects as (
    select service_id, count(*) as projects
    from brg_project_service
    where is_current
    group by service_id
)

select
    metrics.service_id,
    metrics.month_end_on,
    services.name as service,
    services.criticality,
    owners.name as owner,
    coalesce(projects.projects, 0) as projects,
    metrics.days_measured,
    metrics.requests,
    metrics.availability,
    metrics.incidents,
    case services.criticality when 'high' then 0.999 when 'medium' then 0.995 else 0.99 end as target,
    metrics.availability
    >= case services.criticality when 'high' then 0.999 when 'medium' then 0.995 else 0.99 end as is_on_target
from fact_service_metric as metrics
join dim_service as services on services.service_key = metrics.service_key
left join dim_user as owners on owners.user_id = services.owner_id and owners.is_current
left join projects on projects.service_id = metrics.service_id
