/*
natural_key: learner_id
surrogate_key: learner_key
history: type2
valid_from: updated_at
created_at: created_at
checks:
  - range: {grade: [1, 12]}
  - relationship: {tenant_id: dim_tenant(tenant_id)}
    severity: warn
*/
select
    learner_id,
    tenant_id,
    teacher_id,
    parent_id,
    first_name,
    last_name,
    first_name || ' ' || last_name as name,
    grade,
    is_active,
    created_at,
    updated_at
from stg_learners
