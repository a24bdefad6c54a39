/*
natural_key: member_id
history: type2
track: city
valid_from: updated_at
*/
select member_id, city, name from stg_marked
