/*
grain: game_id
*/
-- Games with at least 50 ratings, best first.
select
    row_number() over (order by games.rating desc, games.ratings_count desc, games.game_id) as place,
    games.game_id,
    games.name,
    games.released_on,
    games.rating,
    games.ratings_count,
    games.metacritic,
    esrb.name as esrb_rating
from fact_games as games
join dim_esrb_rating as esrb on esrb.esrb_rating_key = games.esrb_rating_key
where games.ratings_count >= 50 and not games.is_deleted
