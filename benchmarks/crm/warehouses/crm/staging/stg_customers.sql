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
from customers
