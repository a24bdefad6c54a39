select
    transaction_id,
    user_id,
    lower(trim(transaction_type)) as transaction_type,
    amount,
    created_at
from currency_transactions
