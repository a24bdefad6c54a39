-- Grain: one receipt; a return has a negative quantity. What has no discount has one of 0.
select
    sale_id,
    customer_id,
    product_id,
    transaction_date,
    transaction_date::date as sold_on,
    year(transaction_date) as transaction_year,
    month(transaction_date) as transaction_month,
    day(transaction_date) as transaction_day,
    quantity,
    unit_price,
    coalesce(discount, 0)::decimal(12, 2) as discount,
    amount,
    quantity < 0 as is_return
from sales
