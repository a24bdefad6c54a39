-- Grain: one genre.
select
    id as genre_id,
    trim(name) as name,
    slug
from genres
