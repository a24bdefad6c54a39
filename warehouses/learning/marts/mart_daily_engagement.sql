/*
grain: [date, tenant_id]
*/
-- Each fact is added up by itself before they meet.
with sessions as (
    select
        started_on as date,
        tenant_id,
        count(*) as sessions,
        count(distinct learner_id) as learners,
        coalesce(sum(duration_seconds), 0)::bigint as duration_seconds,
        sum(activities_completed)::bigint as activities_completed,
        sum(responses)::bigint as responses,
        sum(correct_responses)::bigint as correct_responses
    from fact_sessions
    group by started_on, tenant_id
),

focus as (
    select sessions.started_on as date, sessions.tenant_id, count(*) as focus_lost
    from fact_focus_events as events
    join fact_sessions as sessions on sessions.session_key = events.session_key
    where events.event_type = 'lost'
    group by sessions.started_on, sessions.tenant_id
),

tenants as (
    select tenant_id, name
    from dim_tenant
    where tenant_key <> 0
    qualify row_number() over (partition by tenant_id order by effective_from desc) = 1
)

select
    sessions.date,
    sessions.tenant_id,
    tenants.name as tenant,
    sessions.sessions,
    sessions.learners,
    round(sessions.duration_seconds / 60, 1) as minutes,
    sessions.activities_completed,
    sessions.responses,
    sessions.correct_responses,
    round(sessions.correct_responses / nullif(sessions.responses, 0), 4) as correct_share,
    coalesce(focus.focus_lost, 0) as focus_lost
from sessions
left join focus on focus.date = sessions.date and focus.tenant_id = sessions.tenant_id
left join tenants on tenants.tenant_id = sessions.tenant_id
