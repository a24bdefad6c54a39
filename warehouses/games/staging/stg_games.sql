-- Grain: one game. Members are lists of distinct ids; of the tags only the English ones (each stands there twice).
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
    list_sort(list_distinct([entry.platform.id for entry in platforms])) as platform_ids,
    list_sort(list_distinct([entry.store.id for entry in stores])) as store_ids,
    list_sort(list_distinct([genre.id for genre in genres])) as genre_ids,
    list_sort(list_distinct([tag.id for tag in tags if tag.language = 'eng'])) as tag_ids
from games
