-- One row per account, connector, UTC day of requested_at and cause of what was not as it was asked for.
-- Released: a change is a new version beside it.
SELECT
    found.account_sid,
    found.connector_name,
    found.day,
    found.cause,
    found.cause_text,
    CAST(SIDE_1(found) AS text) AS side,
    CAST(found.sessions AS bigint) AS sessions,
    TIME_COLUMN(found.first_requested_at) AS first_requested_at,
    TIME_COLUMN(found.last_requested_at) AS last_requested_at,
    CAST(found.example_session_id AS text) AS example_session_id
FROM (
    SELECT
        told.account_sid,
        told.connector_name,
        told.day,
        told.cause,
        told.cause_text,
        COUNT(*) AS sessions,
        MIN(told.requested_at) AS first_requested_at,
        MAX(told.requested_at) AS last_requested_at,
        MAX(told.session_id) AS example_session_id
    FROM (
        SELECT
            account_sid,
            connector_name,
            UTC_DAY(requested_at) AS day,
            cause,
            cause_text,
            requested_at,
            session_id
        FROM report_sessions_v1
        WHERE cause IS NOT NULL
    ) AS told
    GROUP BY told.account_sid, told.connector_name, told.day, told.cause, told.cause_text
) AS found
