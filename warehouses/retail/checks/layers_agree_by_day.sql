/*
description: Receipts, quantities and amounts of a day are those of the mirror in every layer, to the cent.
*/
with layers as (
    select
        'mrr' as layer,
        transaction_date::date as day,
        quantity,
        coalesce(discount, 0) as discount,
        amount
    from mrr_fact_sales
    where _deleted_at is null
    union all
    select 'stg' as layer, sold_on as day, quantity, discount, amount
    from stg_fact_sales
    where _deleted_at is null
    union all
    select 'dwh' as layer, sold_on as day, quantity, discount, amount
    from dwh_fact_sales
),

totals as (
    select
        day,
        layer,
        count(*) as sales,
        sum(quantity) as quantity,
        sum(discount) as discount,
        sum(amount) as amount
    from layers
    group by day, layer
)

select
    day,
    count(*) as layers,
    max(sales) as most_sales,
    min(sales) as fewest_sales,
    max(amount) as highest_amount,
    min(amount) as lowest_amount
from totals
group by day
having
    count(*) <> 3
    or max(sales) <> min(sales)
    or max(quantity) is distinct from min(quantity)
    or max(discount) is distinct from min(discount)
    or max(amount) is distinct from min(amount)
