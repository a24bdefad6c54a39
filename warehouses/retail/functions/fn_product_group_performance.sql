/*
description: What a product group sold from one day to another, both included.
returns: scalar
arguments: {product_group: VARCHAR, from_date: DATE, to_date: DATE}
*/
select
    {
        'sales': count(*),
        'customers': count(distinct sales.customer_id),
        'quantity': coalesce(sum(sales.quantity), 0)::bigint,
        'revenue': coalesce(sum(sales.amount), 0)::decimal(18, 2),
        'average_sale': round(avg(sales.amount), 2)::decimal(18, 2)
    }
from dwh_fact_sales as sales
join dwh_dim_products as products on products.product_key = sales.product_key
where lower(products.product_group) = lower(trim($product_group))
    and sales.sold_on between $from_date and $to_date
