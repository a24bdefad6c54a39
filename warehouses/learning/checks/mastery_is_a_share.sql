/*
description: A mastery is between 0 and 1.
*/
select learner_id, skill_id, progress_on, mastery
from fact_learning_progress
where mastery is null or mastery not between 0 and 1
