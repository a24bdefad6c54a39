select
    tenant_id,
    array_to_string([upper(word[1]) || word[2:] for word in string_split_regex(lower(trim(name)), '\s+')], ' ') as name,
    array_to_string([upper(word[1]) || word[2:] for word in string_split(lower(trim(country)), ' ')], ' ') as country,
    lower(trim(plan)) as plan,
    is_active,
    created_at,
    updated_at
from tenants
