/*
grain: film_id
keys:
  released_key: dim_date(released)
  rating_key: dim_rating(rating_id)
deletes: mark
*/
select
    film_id,
    slug,
    name,
    released,
    rating_id,
    score,
    votes,
    views,
    score * votes as points,
    coalesce(len(genre_ids), 0) as genre_count,
    updated_at
from stg_films
