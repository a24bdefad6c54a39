/*
natural_key: tag_id
*/
select
    tag_id,
    name,
    slug,
    language
from stg_tags
