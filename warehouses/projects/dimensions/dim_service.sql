/*
natural_key: service_id
surrogate_key: service_key
history: type2
valid_from: updated_at
created_at: created_at
checks:
  - accepted: {criticality: [low, medium, high]}
*/
select service_id, name, criticality, owner_id, created_at, updated_at
from stg_services
