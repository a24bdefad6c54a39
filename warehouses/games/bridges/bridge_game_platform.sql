/*
grain: [game_id, platform_id]
keys:
  platform_key: dim_platform(platform_id)
*/
-- `requirements` is JSON text, null until the game's details were fetched; `released_at` may be unknown even then.
select
    games.game_id,
    listed.platform_id,
    details.released_at,
    details.requirements
from stg_games as games
cross join unnest(games.platform_ids) as listed(platform_id)
left join (
    select
        stg_game_details.game_id,
        detailed.entry.platform.id as platform_id,
        max(detailed.entry.released_at) as released_at,
        max(coalesce(detailed.entry.requirements_en::varchar, '{}')) as requirements
    from stg_game_details
    cross join unnest(stg_game_details.platforms) as detailed(entry)
    group by stg_game_details.game_id, detailed.entry.platform.id
) as details on details.game_id = games.game_id and details.platform_id = listed.platform_id
