/*
grain: [year, month, city]
*/
select
    dates.year,
    dates.month,
    coalesce(customers.city, 'Unknown') as city,
    count(*) as orders,
    sum(orders.amount) as revenue
from fact_orders as orders
join dim_date as dates on dates.date_key = orders.date_key
join dim_customer as customers on customers.customer_key = orders.customer_key
group by dates.year, dates.month, coalesce(customers.city, 'Unknown')
