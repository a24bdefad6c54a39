select
    project_id,
    client_id,
    type_id,
    manager_id,
    trim(name) as name,
    lower(trim(status)) as status,
    budget,
    starts_on,
    ends_on,
    created_at,
    updated_at
from projects
