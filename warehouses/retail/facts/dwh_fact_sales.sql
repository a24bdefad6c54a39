/*
grain: sale_id
keys:
  customer_key: dwh_dim_customers(customer_id) as of transaction_date
  product_key: dwh_dim_products(product_id) as of transaction_date
  date_key: dwh_dim_date(sold_on)
partition: month(transaction_date)
*/
select
    sale_id,
    customer_id,
    product_id,
    transaction_date,
    sold_on,
    quantity,
    unit_price,
    discount,
    amount,
    is_return
from stg_fact_sales
