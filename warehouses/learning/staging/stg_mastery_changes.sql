select
    change_id,
    learner_id,
    skill_id,
    mastery,
    responses,
    correct_responses,
    changed_at,
    updated_at
from mastery_changes
