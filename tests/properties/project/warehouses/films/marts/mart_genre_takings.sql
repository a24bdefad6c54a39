-- No grain: rows have no identity, the table is replaced when any differs.
select
    genres.name as genre,
    reviews.stars,
    count(*) as reviews,
    sum(reviews.paid)::decimal(18, 2) as paid
from fact_reviews as reviews
join dim_genre as genres on genres.genre_key = reviews.genre_key
group by genres.name, reviews.stars
