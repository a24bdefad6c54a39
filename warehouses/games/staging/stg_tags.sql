-- Grain: one tag.
select
    id as tag_id,
    trim(name) as name,
    slug,
    language
from tags
