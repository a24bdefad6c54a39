select
    change_id,
    issue_id,
    lower(trim(status)) as status,
    story_points,
    changed_by,
    changed_at,
    updated_at
from issue_status_history
