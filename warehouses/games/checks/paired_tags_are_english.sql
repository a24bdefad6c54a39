/*
description: Each tag comes in two languages; only the English one is paired with games.
*/
select pairs.game_id, tags.tag_id, tags.language
from bridge_game_tag as pairs
join dim_tag as tags on tags.tag_key = pairs.tag_key
where tags.language <> 'eng'
