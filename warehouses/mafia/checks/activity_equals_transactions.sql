/*
description: What users moved is what the currency transactions of known users add up to.
*/
with both_sides as (
    select
        (select coalesce(sum(total_transactions), 0) from mart_user_activity) as by_user,
        (
            select coalesce(sum(amount), 0)
            from stg_currency_transactions
            where _deleted_at is null and user_id is not null
        ) as by_transaction
)

select by_user, by_transaction
from both_sides
where by_user <> by_transaction
