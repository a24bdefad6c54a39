select
    user_id,
    trim(first_name) as first_name,
    trim(last_name) as last_name,
    trim(first_name) || ' ' || trim(last_name) as name,
    lower(trim(email)) as email,
    lower(trim(role)) as role,
    hourly_rate,
    is_active,
    created_at,
    updated_at
from users
