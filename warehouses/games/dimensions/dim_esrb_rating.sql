/*
natural_key: esrb_rating_id
*/
-- The API has no list of ratings: they are those of the games.
select
    esrb_rating_id,
    max(esrb_rating_name) as name,
    max(esrb_rating_slug) as slug
from stg_games
where esrb_rating_id is not null
group by esrb_rating_id
