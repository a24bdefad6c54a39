/*
description: The mart's revenue is the orders' quantity times price.
*/
with orders as (
    select sum(quantity * unit_price) as revenue from fact_orders
),

mart as (
    select sum(revenue) as revenue from mart_revenue_by_month
)

select orders.revenue as orders_revenue, mart.revenue as mart_revenue
from orders
cross join mart
where orders.revenue is distinct from mart.revenue
