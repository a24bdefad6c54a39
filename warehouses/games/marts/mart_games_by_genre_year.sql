/*
grain: [genre_id, release_year]
*/
-- Dated games by genre and year of release; a game counts in each of its genres.
with games as (
    select
        game_id,
        year(released_on) as release_year,
        added,
        metacritic,
        if(ratings_count > 0, rating::decimal(4, 2), null) as rating   -- 0.0 stands for no rating
    from fact_games
    where released_on is not null and not is_deleted
)

select
    genres.genre_id,
    genres.name as genre,
    games.release_year,
    count(*) as games,
    sum(games.added)::bigint as added,
    avg(games.rating) as average_rating,
    avg(games.metacritic) as average_metacritic
from games
join bridge_game_genre as pairs on pairs.game_id = games.game_id
join dim_genre as genres on genres.genre_key = pairs.genre_key
group by genres.genre_id, genres.name, games.release_year
