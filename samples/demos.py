"""What `starberg demo` can show: for each warehouse a sample source, and the questions its tables answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starberg.samples.scenes import (
    Scene,
    databases,
    games,
    learning_settings,
    mafia_settings,
    projects_settings,
    retail_settings,
)


@dataclass(frozen=True)
class Mistake:
    """What goes wrong in a source, SQL that makes it and mends it, and what the failed run's tables then show."""

    says: str
    make: str
    mend: str
    ask: str


@dataclass(frozen=True)
class Dated:
    """What a demo shows of a warehouse that is built by date: a job to force, and a mistake that a check finds."""

    forced: str
    mistake: Mistake


@dataclass(frozen=True)
class Demo:
    """One demo: `source` runs the sample source, whose data it may keep in a folder; `next` are commands to go on with.

    Each question is one `query` of the warehouse, of which the last statement's rows are the answer.
    """

    source: Callable[[Path], AbstractContextManager[Scene]]
    questions: Mapping[str, str]
    next: Sequence[str]
    dated: Dated | None = None


DEMOS: Mapping[str, Demo] = {
    "games": Demo(
        games,
        {
            "Which genres had the most games in 2025?": (
                "SELECT genre, release_year, games, round(average_rating, 2) AS average_rating "
                "FROM mart_games_by_genre_year WHERE release_year = 2025 ORDER BY games DESC, genre LIMIT 5"
            ),
            "On which platforms did the games of 2024 appear?": (
                "SELECT platform, games, round(share, 3) AS share FROM mart_platform_share_by_year "
                "WHERE release_year = 2024 ORDER BY games DESC, platform LIMIT 5"
            ),
            "Which games do players rate highest?": (
                "SELECT place, name, released_on, rating, ratings_count FROM mart_top_rated ORDER BY place LIMIT 5"
            ),
        },
        ['query "select * from games.mart_top_rated limit 10"', "explain games.fact_games 1", "status games"],
    ),
    "retail": Demo(
        partial(databases, "retail", retail_settings, people=2000, days=90, transactions=400),
        {
            "How did the customer with the most versions change?": (
                "SELECT customer_id, full_name, street, city, country, segment, effective_from, effective_to, "
                "is_current FROM dwh_dim_customers WHERE customer_id = (SELECT customer_id FROM dwh_dim_customers "
                "GROUP BY customer_id ORDER BY count(*) DESC, customer_id LIMIT 1) ORDER BY effective_from"
            ),
            "What was sold in the last week, by day and product group?": (
                "CALL sp_aggregate_sales_report(current_date - 7, current_date); SELECT * FROM temp_sales_report"
            ),
            "Which customers bring the most?": "SELECT * FROM fn_top_customers(5)",
            "What does a customer bring?": (
                "CALL sp_refresh_customer_metrics(); SELECT * FROM customer_metrics WHERE orders > 0 "
                "ORDER BY customer_id LIMIT 5"
            ),
            "How many of a product does a customer take?": "SELECT fn_avg_quantity_per_customer(1) AS average_quantity",
            "What sells fastest, in units per day?": (
                "SELECT product_id, product_name, fn_product_sales_velocity(product_id, 30) AS units_per_day "
                "FROM dwh_dim_products WHERE is_current AND product_key > 0 ORDER BY units_per_day DESC LIMIT 5"
            ),
            "How did the product group Kitchen do this month?": (
                "SELECT g.* FROM (SELECT fn_product_group_performance('Kitchen', current_date - 30, current_date) AS g)"
            ),
            "Does every layer have every row?": "SELECT * FROM vw_row_counts_by_layer ORDER BY table_name, layer",
            "What did the last runs do?": "SELECT * FROM vw_recent_etl_runs",
            "What does each process log?": "SELECT * FROM etl_logs",
            "How long do the processes take?": "SELECT * FROM vw_etl_performance_summary",
        },
        [
            'query --warehouse retail "select * from customer_metrics limit 10"',
            "explain retail.dwh_fact_sales 1",
            "status retail",
        ],
    ),
    "mafia": Demo(
        partial(databases, "mafia", mafia_settings, people=500, days=45, transactions=400),
        {
            "How did the user with the most versions change?": (
                "SELECT user_id, username, status, level, effective_from, effective_to, is_current FROM dim_users "
                "WHERE user_id = (SELECT user_id FROM dim_users GROUP BY user_id ORDER BY count(*) DESC, user_id "
                "LIMIT 1) ORDER BY effective_from"
            ),
            "Who wins?": """\
SELECT r.role_name, r.side, COUNT(*) AS games_played, SUM(s.won::int) AS wins
FROM fact_player_sessions s
JOIN dim_roles r ON r.role_key = s.role_key
JOIN fact_games g ON g.game_id = s.game_id
GROUP BY r.role_name, r.side
ORDER BY wins DESC, r.role_name""",
            "What do users do? (each payment counts once per game: see the next one)": """\
SELECT u.username, COUNT(DISTINCT s.lobby_key) AS lobbies_joined, SUM(t.amount) AS total_transactions
FROM dim_users u
JOIN fact_player_sessions s ON s.user_key = u.user_key
JOIN fact_transactions t ON t.user_key = u.user_key
GROUP BY u.username
ORDER BY u.username""",
            "What do users do? (each payment counts once)": (
                "SELECT username, lobbies_joined, total_transactions FROM mart_user_activity ORDER BY username"
            ),
            "What did the last runs do?": "SELECT * FROM etl_run_log ORDER BY run_start_time DESC",
        },
        [
            'query --warehouse mafia "select * from mart_user_activity order by games_played desc limit 10"',
            "explain mafia.fact_games 1",
            "status mafia",
        ],
    ),
    "learning": Demo(
        partial(databases, "learning", learning_settings, people=100, days=30, transactions=250, lived=1),
        {
            "How did the learner with the most versions change?": (
                "SELECT learner_id, name, grade, is_active, effective_from, effective_to, is_current FROM dim_learner "
                "WHERE learner_id = (SELECT learner_id FROM dim_learner GROUP BY learner_id ORDER BY count(*) DESC, "
                "learner_id LIMIT 1) ORDER BY effective_from"
            ),
            "What did each school do on the last days?": (
                "SELECT date, tenant, sessions, learners, minutes, correct_share, focus_lost "
                "FROM mart_daily_engagement ORDER BY date DESC, tenant, tenant_id LIMIT 8"
            ),
            "Which skills are mastered least?": (
                "SELECT progress_on, subject, skill, learners, average_mastery, mastered FROM mart_skill_mastery "
                "WHERE progress_on = (SELECT max(progress_on) FROM mart_skill_mastery) "
                "ORDER BY average_mastery, skill_id LIMIT 5"
            ),
            "How does mastery grow, day by day?": (
                "SELECT progress_on, count(*) AS skills_of_learners, round(avg(mastery), 4) AS average_mastery, "
                "count(*) FILTER (is_mastered) AS mastered FROM fact_learning_progress GROUP BY ALL ORDER BY 1"
            ),
            "How does homework go?": (
                "SELECT subject, skill, submissions, graded, late, average_score FROM mart_homework_results "
                "ORDER BY submissions DESC, skill_id LIMIT 5"
            ),
            "Are recommendations followed?": (
                "SELECT reason, count(*) AS shown, count(*) FILTER (status = 'accepted') AS accepted, "
                "count(*) FILTER (status = 'dismissed') AS dismissed FROM fact_recommendation_events "
                "GROUP BY reason ORDER BY reason"
            ),
            "What did the jobs do?": (
                "SELECT job_name AS job, target_date AS date, status, rows_processed AS rows, "
                "split_part(error_message, ',', 1) AS error FROM etl_job_runs WHERE job_name LIKE 'build_%' "
                "ORDER BY completed_at DESC, job_name"
            ),
        },
        [
            "status learning",
            'query --warehouse learning "select * from mart_skill_mastery order by average_mastery limit 10"',
            "explain learning.dim_skill 1",
        ],
        Dated(
            "build_fact_learning_progress",
            Mistake(
                "a session of yesterday ended three days later, by a tablet's clock",
                "UPDATE sessions SET ended_at = started_at + interval '3 days', updated_at = now() "
                "WHERE session_number = (SELECT max(session_number) FROM sessions WHERE ended_at IS NOT NULL "
                "AND (started_at AT TIME ZONE 'UTC')::date = (now() AT TIME ZONE 'UTC')::date - 1)",
                "UPDATE sessions SET ended_at = started_at + interval '25 minutes', updated_at = now() "
                "WHERE ended_at > started_at + interval '2 days'",
                "SELECT session_id, started_at, ended_at, duration_seconds FROM fact_sessions "
                "WHERE duration_seconds > 12 * 60 * 60",
            ),
        ),
    ),
    "projects": Demo(
        partial(databases, "projects", projects_settings, people=40, days=60, transactions=150, lived=1),
        {
            "How did the issue with the most versions change?": (
                "SELECT issue_id, title, status, priority, story_points, category, effective_from, effective_to, "
                "is_current FROM dim_issue WHERE issue_id = (SELECT issue_id FROM dim_issue GROUP BY issue_id "
                "ORDER BY count(*) DESC, issue_id LIMIT 1) ORDER BY effective_from"
            ),
            "Which projects are in danger?": (
                "SELECT project, client, open_issues, overdue_issues, throughput_7_days, budget_burn, time_burn, "
                "health FROM mart_project_health ORDER BY health <> 'red', health <> 'amber', budget_burn DESC LIMIT 5"
            ),
            "How many issues were open, day by day?": (
                "SELECT snapshot_on, count(*) AS issues, count(*) FILTER (is_open) AS open_issues, "
                "count(*) FILTER (is_overdue) AS overdue, round(avg(age_days) FILTER (is_open), 1) AS average_age_days "
                "FROM fact_issue_snapshot GROUP BY snapshot_on ORDER BY snapshot_on"
            ),
            "How did the services run last month?": (
                "SELECT service, month_end_on, criticality, projects, requests, availability, incidents, is_on_target "
                "FROM mart_service_overview ORDER BY is_on_target, availability, service_id LIMIT 5"
            ),
            "How long do reviews take?": (
                "SELECT project, cycles, finished, late, findings, issues_reviewed, average_days_to_start, "
                "average_days_to_review, average_days_to_finish FROM mart_review_summary "
                "ORDER BY cycles DESC, project_id LIMIT 5"
            ),
            "How are the findings shared by kinds of issues?": (
                "SELECT i.issue_type, count(*) AS reviews_of_issues, round(sum(b.weight * r.findings), 1) AS findings "
                "FROM brg_issue_review b JOIN dim_issue i ON i.issue_key = b.issue_key "
                "JOIN stg_reviews r ON r.review_id = b.review_id GROUP BY i.issue_type ORDER BY i.issue_type"
            ),
            "What did the checks find?": (
                "SELECT check_name, table_name, severity, status, failures, checked_at FROM ctl_data_quality_result "
                "ORDER BY failures DESC, place LIMIT 5"
            ),
            "How far was each table of the source read?": (
                "SELECT stream, high_water_mark, load_seq, source_rows FROM ctl_watermark ORDER BY stream LIMIT 5"
            ),
            "What did the last runs do?": (
                "SELECT command, status, started_at, rows_inserted, rows_updated, rows_deleted, "
                "split_part(error_message, ',', 1) AS error FROM ctl_etl_run ORDER BY place"
            ),
        },
        [
            "status projects",
            'query --warehouse projects "select * from mart_project_health order by budget_burn desc limit 10"',
            "explain projects.fact_review_cycle 1",
        ],
        Dated(
            "build_fact_issue_snapshot",
            Mistake(
                "a review is opened again in a cycle that has finished",
                "UPDATE reviews SET completed_at = NULL, outcome = NULL, updated_at = now() WHERE review_id = "
                "(SELECT max(review_id) FROM reviews JOIN review_cycles USING (cycle_id) "
                "WHERE finished_at IS NOT NULL)",
                "UPDATE reviews SET completed_at = opened_at + interval '2 days', outcome = 'changes', "
                "updated_at = now() WHERE completed_at IS NULL AND cycle_id IN "
                "(SELECT cycle_id FROM review_cycles WHERE finished_at IS NOT NULL)",
                "SELECT cycle_id, finished_at, reviews, completed_reviews FROM fact_review_cycle "
                "WHERE finished_at IS NOT NULL AND completed_reviews < reviews",
            ),
        ),
    ),
}
