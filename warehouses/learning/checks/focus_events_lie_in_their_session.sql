/*
severity: warn
description: What happened in a session happened after it started.
*/
select events.event_id, events.session_key, events.occurred_at, sessions.started_at
from fact_focus_events as events
join fact_sessions as sessions on sessions.session_key = events.session_key
where events.occurred_at < sessions.started_at
