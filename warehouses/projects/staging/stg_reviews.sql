select
    review_id,
    cycle_id,
    reviewer_id,
    lower(trim(outcome)) as outcome,
    findings,
    opened_at,
    completed_at,
    updated_at
from reviews
