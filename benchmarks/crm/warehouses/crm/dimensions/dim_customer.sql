/*
natural_key: customer_id
history: type2
track: [city, segment, credit_limit]
valid_from: updated_at
*/
select
    customer_id,
    first_name,
    last_name,
    email,
    phone,
    street,
    city,
    postal_code,
    country,
    segment,
    credit_limit,
    updated_at
from stg_customers
