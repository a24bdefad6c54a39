/*
description: A graded homework has a score of 0 to 100, any other has none.
*/
select homework_id, learner_id, status, score
from fact_homework_events
where (status = 'graded') <> (score is not null) or score not between 0 and 100
