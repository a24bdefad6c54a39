/*
natural_key: member_id
history: type2
track: city
*/
select member_id, city, name from stg_logged
