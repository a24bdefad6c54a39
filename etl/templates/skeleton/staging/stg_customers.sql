-- Grain: one customer.
select
    id as customer_id,
    trim(name) as name,
    trim(city) as city
from customers
