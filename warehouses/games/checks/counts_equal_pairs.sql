/*
description: A live game's counts are its pairs in the bridges; a deleted game has no pairs.
*/
with pairs as (
    select game_id, 'platform' as member, count(*) as pairs from bridge_game_platform group by game_id
    union all
    select game_id, 'store', count(*) from bridge_game_store group by game_id
    union all
    select game_id, 'genre', count(*) from bridge_game_genre group by game_id
    union all
    select game_id, 'tag', count(*) from bridge_game_tag group by game_id
),

counts as (
    select game_id, 'platform' as member, if(is_deleted, 0, platform_count) as counted from fact_games
    union all
    select game_id, 'store', if(is_deleted, 0, store_count) from fact_games
    union all
    select game_id, 'genre', if(is_deleted, 0, genre_count) from fact_games
    union all
    select game_id, 'tag', if(is_deleted, 0, tag_count) from fact_games
)

select
    coalesce(counts.game_id, pairs.game_id) as game_id,
    coalesce(counts.member, pairs.member) as member,
    counts.counted,
    pairs.pairs
from counts
full join pairs on pairs.game_id = counts.game_id and pairs.member = counts.member
where counts.counted is distinct from coalesce(pairs.pairs, 0)
