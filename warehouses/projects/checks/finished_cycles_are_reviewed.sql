/*
description: A finished review cycle has no open review.
*/
select cycle_id, finished_at, reviews, completed_reviews
from fact_review_cycle
where finished_at is not null and completed_reviews < reviews
