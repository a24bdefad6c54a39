/*
description: Sales of each day and product group, from one day to another, both included.
returns: table
arguments: {from_date: DATE, to_date: DATE}
into: temp_sales_report
*/
-- The group is the one the product was in when it was sold.
select
    sales.sold_on as sales_date,
    products.product_group,
    count(*) as sales,
    sum(sales.quantity)::bigint as quantity,
    sum(sales.discount)::decimal(18, 2) as discount,
    sum(sales.amount)::decimal(18, 2) as amount
from dwh_fact_sales as sales
join dwh_dim_products as products on products.product_key = sales.product_key
where sales.sold_on between $from_date and $to_date
group by sales.sold_on, products.product_group
order by sales_date, product_group
