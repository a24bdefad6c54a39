/*
natural_key: issue_id
surrogate_key: issue_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select
    issue_id,
    project_id,
    reporter_id,
    assignee_id,
    title,
    issue_type,
    priority,
    status,
    story_points,
    due_on,
    category,
    sentiment,
    root_cause,
    created_at,
    updated_at
from stg_issues
