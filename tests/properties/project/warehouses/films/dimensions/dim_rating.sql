/*
natural_key: rating_id
*/
select rating_id, max(rating_name) as name
from stg_films
where rating_id is not null
group by rating_id
