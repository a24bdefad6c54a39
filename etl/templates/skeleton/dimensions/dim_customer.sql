/*
natural_key: customer_id
*/
select
    customer_id,
    name,
    city
from stg_customers
