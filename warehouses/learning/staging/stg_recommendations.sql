select
    recommendation_id,
    learner_id,
    skill_id,
    lower(trim(reason)) as reason,
    shown_at,
    accepted_at,
    dismissed_at,
    updated_at
from recommendations
