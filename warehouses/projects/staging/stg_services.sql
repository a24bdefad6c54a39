select
    service_id,
    trim(name) as name,
    lower(trim(criticality)) as criticality,
    owner_id,
    created_at,
    updated_at
from services
