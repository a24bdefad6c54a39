/*
description: A live film's genre count is the number of its pairs; a deleted film has none.
*/
with pairs as (
    select film_id, count(*) as pairs from bridge_film_genre group by film_id
)

select films.film_id, films.genre_count, pairs.pairs
from fact_films as films
full join pairs on pairs.film_id = films.film_id
where if(films.is_deleted, 0, films.genre_count) is distinct from coalesce(pairs.pairs, 0)
