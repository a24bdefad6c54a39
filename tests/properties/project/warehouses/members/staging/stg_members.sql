select id as member_id, city, name, updated as updated_at, born as born_at from members where city is distinct from 'Test'
