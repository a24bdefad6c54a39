/*
guard: {share: 1, rows: 1000000}
quarantine: {share: 1, rows: 1000000}
*/
select
    id as film_id,
    slug,
    trim(name) as name,
    released,
    updated as updated_at,
    score,
    votes,
    views,
    rating.id as rating_id,
    rating.name as rating_name,
    list_sort(list_distinct([genre.id for genre in genres])) as genre_ids,
    list_sort(list_distinct(platforms)) as platform_ids
from films
