select
    homework_id,
    tenant_id,
    teacher_id,
    skill_id,
    trim(title) as title,
    questions,
    assigned_at,
    due_at,
    updated_at
from homework
