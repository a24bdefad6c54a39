/*
grain: [project_id, service_id]
keys:
  project_key: dim_project(project_id)
  service_key: dim_service(service_id)
weight: equal
group: service_id
*/
-- A service's weights tell how its costs are shared by the projects that use it.
select project_id, service_id
from stg_project_services
