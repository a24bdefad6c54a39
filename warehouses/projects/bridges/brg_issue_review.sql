/*
grain: [issue_id, review_id]
keys:
  issue_key: dim_issue(issue_id)
  review_cycle_key: dim_review_cycle(cycle_id)
weight: equal
group: review_id
*/
-- A review's weights share its findings among the issues it was about.
select links.issue_id, links.review_id, reviews.cycle_id
from stg_issue_reviews as links
left join stg_reviews as reviews on reviews.review_id = links.review_id
