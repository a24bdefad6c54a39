/*
natural_key: user_id
surrogate_key: user_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select user_id, name, first_name, last_name, email, role, hourly_rate, is_active, created_at, updated_at
from stg_users
