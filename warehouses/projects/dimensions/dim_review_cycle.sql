/*
natural_key: cycle_id
surrogate_key: review_cycle_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select
    cycle_id,
    project_id,
    lead_id,
    name,
    planned_on,
    due_on,
    started_at,
    reviewed_at,
    finished_at,
    created_at,
    updated_at
from stg_review_cycles
