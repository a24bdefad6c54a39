/*
natural_key: product_id
surrogate_key: product_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select
    product_id,
    product_name,
    product_group,
    unit_price,
    is_active,
    created_at,
    updated_at
from stg_dim_products
