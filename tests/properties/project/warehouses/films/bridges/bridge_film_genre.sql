/*
grain: [film_id, genre_id]
keys:
  genre_key: dim_genre(genre_id)
weight: equal
*/
select films.film_id, listed.genre_id
from stg_films as films
cross join unnest(films.genre_ids) as listed(genre_id)
