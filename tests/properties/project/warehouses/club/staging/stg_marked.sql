select id as member_id, city, name, updated_at from marked
