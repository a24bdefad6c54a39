/*
grain: [game_id, platform_id]
keys:
  platform_key: dim_platform(platform_id)
*/
-- `requirements` is JSON text, null until the game's details were fetched; `released_at` may be unknown even then.
with details as (
    select
        details.game_id,
        listed.entry.platform.id as platform_id,
        max(listed.entry.released_at) as released_at,
        max(coalesce(listed.entry.requirements_en::varchar, '{}')) as requirements
    from stg_game_details as details
    cross join unnest(details.platforms) as listed(entry)
    group by details.game_id, listed.entry.platform.id
)

select
    games.game_id,
    listed.platform_id,
    details.released_at,
    details.requirements
from stg_games as games
cross join unnest(games.platform_ids) as listed(platform_id)
left join details on details.game_id = games.game_id and details.platform_id = listed.platform_id
