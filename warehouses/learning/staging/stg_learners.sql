select
    learner_id,
    tenant_id,
    teacher_id,
    parent_id,
    trim(first_name) as first_name,
    trim(last_name) as last_name,
    grade,
    is_active,
    created_at,
    updated_at
from learners
