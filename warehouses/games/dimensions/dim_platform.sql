/*
natural_key: platform_id
*/
select
    platform_id,
    name,
    slug
from stg_platforms
