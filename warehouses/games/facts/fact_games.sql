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
    coalesce(len(platform_ids), 0) as platform_count,
    coalesce(len(store_ids), 0) as store_count,
    coalesce(len(genre_ids), 0) as genre_count,
    coalesce(len(tag_ids), 0) as tag_count,
    updated_at
from stg_games
