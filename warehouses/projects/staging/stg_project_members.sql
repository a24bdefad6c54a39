select project_id, user_id, lower(trim(role)) as role, allocation, updated_at
from project_members
