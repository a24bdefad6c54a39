/*
natural_key: customer_id
surrogate_key: customer_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select
    customer_id,
    first_name,
    last_name,
    full_name,
    email,
    phone,
    street,
    city,
    postal_code,
    country,
    segment,
    created_at,
    updated_at
from stg_dim_customers
