-- Grain: one game. Members are lists of distinct ids; none where the API says null.
select
    id as game_id,
    slug,
    trim(name) as name,
    released as released_on,
    coalesce(tba, false) as tba,
    updated as updated_at,
    rating,
    rating_top,
    ratings_count,
    reviews_count,
    reviews_text_count,
    added,
    metacritic,
    playtime,   -- hours
    suggestions_count,
    esrb_rating.id as esrb_rating_id,
    esrb_rating.name as esrb_rating_name,
    esrb_rating.slug as esrb_rating_slug,
    coalesce(list_sort(list_distinct([entry.platform.id for entry in platforms])), []) as platform_ids,
    coalesce(list_sort(list_distinct([entry.store.id for entry in stores])), []) as store_ids,
    coalesce(list_sort(list_distinct([genre.id for genre in genres])), []) as genre_ids,
    coalesce(list_sort(list_distinct([tag.id for tag in tags])), []) as tag_ids
from games
