select project_id, service_id, updated_at
from project_services
