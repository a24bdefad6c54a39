/*
natural_key: member_id
history: type2
valid_from: updated_at
created_at: born_at
order: valid_time
*/
select member_id, city, name from stg_members
