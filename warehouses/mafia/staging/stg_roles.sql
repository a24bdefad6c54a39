select
    role_id,
    trim(role_name) as role_name,
    lower(trim(side)) as side,
    description
from roles
