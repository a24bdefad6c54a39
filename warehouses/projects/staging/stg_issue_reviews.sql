select issue_id, review_id, updated_at
from issue_reviews
