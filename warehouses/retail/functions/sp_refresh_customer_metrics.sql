/*
description: What customer_metrics holds, from the sales as they are.
returns: table
into: customer_metrics
*/
-- Every customer there is or who ever bought. A return counts in quantity and revenue, not as an order.
with sold as (
    select
        customer_id,
        count(*) filter (quantity > 0) as orders,
        sum(quantity)::bigint as quantity,
        sum(amount)::decimal(18, 2) as revenue,
        min(transaction_date) filter (quantity > 0) as first_purchase,
        max(transaction_date) filter (quantity > 0) as last_purchase
    from dwh_fact_sales
    where customer_id is not null
    group by customer_id
),

customers as (
    select customer_id, full_name, segment, is_current
    from dwh_dim_customers
    where customer_key <> 0
    qualify row_number() over (partition by customer_id order by effective_from desc) = 1
)

select
    customers.customer_id,
    customers.full_name,
    customers.segment,
    coalesce(sold.orders, 0) as orders,
    coalesce(sold.quantity, 0) as quantity,
    coalesce(sold.revenue, 0)::decimal(18, 2) as revenue,
    sold.first_purchase,
    sold.last_purchase,
    if(sold.orders > 0, (sold.revenue / sold.orders)::decimal(18, 2), null) as average_basket
from customers
left join sold on sold.customer_id = customers.customer_id
where customers.is_current or sold.customer_id is not null
