/*
grain: game_id
keys:
  release_date_key: dim_date(released_on)
  esrb_rating_key: dim_esrb_rating(esrb_rating_id)
deletes: mark
*/
select
    game_id,
    slug,
    name,
    released_on,
    tba,
    esrb_rating_id,
    rating,
    rating_top,
    ratings_count,
    reviews_count,
    reviews_text_count,
    added,
    metacritic,
    playtime,
    suggestions_count,
    len(platform_ids) as platform_count,
    len(store_ids) as store_count,
    len(genre_ids) as genre_count,
    len(tag_ids) as tag_count,
    updated_at
from stg_games
