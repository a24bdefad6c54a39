select
    event_id,
    homework_id,
    learner_id,
    lower(trim(event_type)) as event_type,
    answers_correct,
    score,
    occurred_at,
    updated_at
from homework_events
