/*
severity: warn
description: Platforms of games whose release date there and requirements are not fetched yet, if more than a tenth.
*/
select count(*) as pairs, count(*) filter (requirements is null) as not_fetched
from bridge_game_platform
having count(*) filter (requirements is null) > 0.1 * count(*)
