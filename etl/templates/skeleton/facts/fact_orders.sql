/*
grain: order_id
keys:
  customer_key: dim_customer(customer_id)   # order 104's customer is not there yet: an inferred member
  date_key: dim_date(ordered_at)
*/
select
    order_id,
    customer_id,
    ordered_at,
    quantity,
    unit_price,
    amount
from stg_orders
