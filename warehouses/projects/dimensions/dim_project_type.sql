/*
natural_key: type_id
surrogate_key: project_type_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select type_id, name, is_billable, created_at, updated_at
from stg_project_types
