/*
grain: [project_id, service_id]
history: type2
times:
  stg_project_services: {valid_from: updated_at, created_at: updated_at}
keys:
  project_key: dim_project(project_id)
  service_key: dim_service(service_id)
weight: equal
group: service_id
*/
-- Who used which service when; a service's weights tell how its costs were shared by the projects that used it.
select project_id, service_id
from stg_project_services
