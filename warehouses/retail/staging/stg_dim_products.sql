-- Grain: one product.
select
    product_id,
    regexp_replace(trim(product_name), '\s+', ' ', 'g') as product_name,
    array_to_string([
        upper(word[1]) || word[2:] for word in string_split_regex(lower(nullif(trim(product_group), '')), '\s+')
    ], ' ') as product_group,
    unit_price,
    coalesce(is_active, true) as is_active,
    created_at,
    year(created_at) as created_year,
    month(created_at) as created_month,
    day(created_at) as created_day,
    updated_at
from products
