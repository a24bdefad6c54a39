/*
guard: {share: 1, rows: 1000000}
quarantine: {share: 1, rows: 1000000}
*/
select
    id as genre_id,
    trim(name) as name,
    slug
from genres
