-- Grain: one store.
select
    id as store_id,
    trim(name) as name,
    slug,
    lower(domain) as domain
from stores
