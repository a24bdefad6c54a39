/*
checks:
  - freshness: 72
*/
-- Grain: one issue, with what was found in its text, if that was processed.
select
    issue_id,
    project_id,
    reporter_id,
    assignee_id,
    trim(title) as title,
    lower(trim(issue_type)) as issue_type,
    lower(trim(priority)) as priority,
    lower(trim(status)) as status,
    story_points,
    due_on,
    lower(trim(category)) as category,
    lower(trim(sentiment)) as sentiment,
    lower(trim(root_cause)) as root_cause,
    created_at,
    updated_at
from issues
