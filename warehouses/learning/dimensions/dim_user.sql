/*
natural_key: user_id
surrogate_key: user_key
checks:
  - accepted: {role: [teacher, parent]}
*/
select
    user_id,
    tenant_id,
    role,
    first_name,
    last_name,
    first_name || ' ' || last_name as name,
    email,
    is_active,
    created_at,
    updated_at
from stg_users
