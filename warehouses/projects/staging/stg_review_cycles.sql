select
    cycle_id,
    project_id,
    lead_id,
    trim(name) as name,
    planned_on,
    due_on,
    started_at,
    reviewed_at,
    finished_at,
    created_at,
    updated_at
from review_cycles
