/*
natural_key: role_id
surrogate_key: role_key
*/
select role_id, role_name, side, description
from stg_roles
