/*
grain: user_id
*/
-- Each fact is added up by itself before they meet: joined row by row they would multiply each other.
with users as (
    select user_id, username
    from dim_users
    where user_key <> 0
    qualify row_number() over (partition by user_id order by effective_from desc) = 1
),

joined as (
    select user_id, count(distinct lobby_id) as lobbies_joined, count(distinct game_id) as games_played
    from fact_player_sessions
    group by user_id
),

paid as (
    select
        user_id,
        sum(amount)::decimal(18, 2) as total_transactions,
        sum(signed_amount)::decimal(18, 2) as balance
    from fact_transactions
    group by user_id
)

select
    users.user_id,
    users.username,
    coalesce(joined.lobbies_joined, 0) as lobbies_joined,
    coalesce(joined.games_played, 0) as games_played,
    coalesce(paid.total_transactions, 0)::decimal(18, 2) as total_transactions,
    coalesce(paid.balance, 0)::decimal(18, 2) as balance
from users
left join joined on joined.user_id = users.user_id
left join paid on paid.user_id = users.user_id
