/*
natural_key: genre_id
*/
select genre_id, name, slug from stg_genres
