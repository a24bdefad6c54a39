select
    user_id,
    tenant_id,
    lower(trim(role)) as role,
    trim(first_name) as first_name,
    trim(last_name) as last_name,
    lower(trim(email)) as email,
    is_active,
    created_at,
    updated_at
from users
