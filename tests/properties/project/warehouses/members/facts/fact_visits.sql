/*
grain: visit_id
keys:
  member_key: dim_member(member_id) as of visited_at
  dated_key: {dimension: dim_dated, on: {member_id: member_id}, as_of: visited_at, missing: unknown}
  newest_key: dim_member(member_id)
*/
select visit_id from stg_visits
