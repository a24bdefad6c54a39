-- Grain: one order.
select
    id as order_id,
    customer_id,
    ordered_at,
    quantity,
    unit_price,
    (quantity * unit_price)::decimal(18, 2) as amount
from orders
