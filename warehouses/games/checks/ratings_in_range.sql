/*
description: Ratings run from 0 (none) to 5, metacritic from 0 to 100; counts are not negative.
*/
select game_id, rating, rating_top, metacritic, ratings_count, reviews_count, added
from fact_games
where rating not between 0 and 5
    or rating_top not between 0 and 5
    or metacritic not between 0 and 100
    or least(ratings_count, reviews_count, added, playtime) < 0
