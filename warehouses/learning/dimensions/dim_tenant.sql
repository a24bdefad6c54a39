/*
natural_key: tenant_id
surrogate_key: tenant_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select tenant_id, name, country, plan, is_active, created_at, updated_at
from stg_tenants
