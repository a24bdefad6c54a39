/*
description: What customers bought is what was sold to somebody known.
*/
with both_sides as (
    select
        (select coalesce(sum(revenue), 0) from customer_metrics) as by_customer,
        (select coalesce(sum(amount), 0) from dwh_fact_sales where customer_id is not null) as by_sale
)

select by_customer, by_sale
from both_sides
where by_customer <> by_sale
