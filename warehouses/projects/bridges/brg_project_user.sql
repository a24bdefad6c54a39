/*
grain: [project_id, user_id]
keys:
  project_key: dim_project(project_id)
  user_key: dim_user(user_id)
weight: declared
group: project_id
*/
-- The weight is a member's part of all the time that a project has.
select
    project_id,
    user_id,
    role,
    allocation,
    allocation / sum(allocation) over (partition by project_id) as weight
from stg_project_members
