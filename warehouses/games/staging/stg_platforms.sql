-- Grain: one platform.
select
    id as platform_id,
    trim(name) as name,
    slug
from platforms
