select id as visit_id, member as member_id, visited as visited_at from visits
