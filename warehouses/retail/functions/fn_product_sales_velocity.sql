/*
description: Units of a product sold per day, returns taken off, over the days that end with the last one of any sale.
returns: scalar
arguments: {product: BIGINT, days: INTEGER}
*/
with last_day as (
    select max(sold_on) as day
    from dwh_fact_sales
)

select round(coalesce(sum(sales.quantity), 0) / nullif($days, 0), 4)
from dwh_fact_sales as sales
join last_day on sales.sold_on > last_day.day - $days
where sales.product_id = $product
