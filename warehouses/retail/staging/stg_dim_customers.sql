-- Grain: one customer. Spaces trimmed and single; countries capitalised, codes, addresses and segments in one case.
select
    customer_id,
    regexp_replace(trim(first_name), '\s+', ' ', 'g') as first_name,
    regexp_replace(trim(last_name), '\s+', ' ', 'g') as last_name,
    regexp_replace(trim(concat_ws(' ', trim(first_name), trim(last_name))), '\s+', ' ', 'g') as full_name,
    lower(nullif(trim(email), '')) as email,
    nullif(regexp_replace(phone, '[^0-9+]', '', 'g'), '') as phone,
    nullif(regexp_replace(trim(street), '\s+', ' ', 'g'), '') as street,
    nullif(regexp_replace(trim(city), '\s+', ' ', 'g'), '') as city,
    upper(nullif(trim(postal_code), '')) as postal_code,
    -- A code of two or three letters, or a name.
    if(
        length(trim(country)) <= 3,
        upper(nullif(trim(country), '')),
        array_to_string([upper(word[1]) || word[2:] for word in string_split_regex(lower(trim(country)), '\s+')], ' ')
    ) as country,
    lower(nullif(trim(segment), '')) as segment,
    created_at,
    year(created_at) as created_year,
    month(created_at) as created_month,
    day(created_at) as created_day,
    updated_at
from customers
