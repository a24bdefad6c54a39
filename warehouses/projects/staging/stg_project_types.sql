select type_id, trim(name) as name, is_billable, created_at, updated_at
from project_types
