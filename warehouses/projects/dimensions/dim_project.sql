/*
natural_key: project_id
surrogate_key: project_key
history: type2
valid_from: updated_at
created_at: created_at
checks:
  - accepted: {status: [planned, active, on hold, finished]}
  - range: {budget: [0, null]}
*/
select
    project_id,
    client_id,
    type_id,
    manager_id,
    name,
    status,
    budget,
    starts_on,
    ends_on,
    created_at,
    updated_at
from stg_projects
