/*
grain: [film_id, reader]
keys:
  written_key: dim_date(written_on)
  genre_key: dim_genre(genre_id)
  other_genre_key: {dimension: dim_genre, on: {genre_id: other_genre_id}, missing: unknown}
deletes: remove
partition: month(written_at)
*/
select
    film_id,
    reader,
    stars,
    paid,
    genre_id,
    other_genre_id,
    written_at,
    written_at::date as written_on
from stg_reviews
