select
    user_id,
    trim(username) as username,
    lower(trim(email)) as email,
    upper(nullif(trim(country), '')) as country,
    lower(trim(status)) as status,
    level,
    created_at,
    updated_at
from users
