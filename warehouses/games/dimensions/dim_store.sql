/*
natural_key: store_id
*/
select
    store_id,
    name,
    slug,
    domain
from stg_stores
