/*
guard: {share: 1, rows: 1000000}
quarantine: {share: 1, rows: 1000000}
*/
select
    film as film_id,
    reader,
    stars,
    paid,
    genre as genre_id,
    other_genre as other_genre_id,
    written as written_at
from reviews
