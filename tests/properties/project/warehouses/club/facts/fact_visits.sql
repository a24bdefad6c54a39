/*
grain: visit_id
keys:
  whole_key: dim_whole(member_id) as of visited_at
  marked_key: dim_marked(member_id) as of visited_at
  keyed_key: dim_keyed(member_id) as of visited_at
  logged_key: dim_logged(member_id) as of visited_at
*/
select visit_id from stg_visits
