/*
natural_key: client_id
surrogate_key: client_key
history: type2
valid_from: updated_at
created_at: created_at
*/
select client_id, name, country, industry, tier, created_at, updated_at
from stg_clients
