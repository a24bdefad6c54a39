select id as visit_id, member as member_id, visited_at from visits
