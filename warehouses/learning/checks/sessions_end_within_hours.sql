/*
description: A session ends after it started, and lasts no longer than twelve hours.
*/
select session_id, learner_id, started_at, ended_at, duration_seconds
from fact_sessions
where duration_seconds not between 0 and 12 * 60 * 60
