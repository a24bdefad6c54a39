/*
grain: [genre_id, release_year]
*/
select
    genres.genre_id,
    genres.name as genre,
    year(films.released) as release_year,
    count(*) as films,
    sum(films.votes)::bigint as votes,
    max(films.score) as best_score
from fact_films as films
join bridge_film_genre as pairs on pairs.film_id = films.film_id
join dim_genre as genres on genres.genre_key = pairs.genre_key
where films.released is not null and not films.is_deleted
group by genres.genre_id, genres.name, year(films.released)
