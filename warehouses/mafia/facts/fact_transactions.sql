/*
grain: transaction_id
keys:
  user_key: dim_users(user_id) as of created_at
  time_key: dim_time(created_at)
*/
-- A purchase or a reward adds to the user's balance; what is spent or refunded is taken from it.
select
    transaction_id,
    user_id,
    transaction_type,
    amount,
    if(transaction_type in ('purchase', 'reward'), amount, -amount) as signed_amount,
    if(transaction_type in ('purchase', 'reward'), 'credit', 'debit') as balance_effect,
    created_at
from stg_currency_transactions
