-- One row per session. As it was, with what follows last_callback_at.
-- What is computed is cast: SQLite gives a computed column no type of its own.
SELECT
    session.id AS session_id,
    session.origin,
    session.account_sid,
    session.call_sid,
    CAST(COALESCE(session.answer_siprec_sid, session.callback_siprec_sid) AS text) AS siprec_sid,
    CAST(
        CASE WHEN session.answer_siprec_sid IS NOT NULL THEN session.callback_siprec_sid END AS text
    ) AS callback_siprec_sid,
    session.connector_name,
    session.name,
    session.track,
    session.state,
    session.requested_at,
    session.accepted_at,
    session.started_at,
    session.ended_at,
    session.stop_requested_at,
    session.updated_at,
    CAST(
        CASE WHEN session.origin <> 'adopted' THEN SECONDS(session.requested_at, session.accepted_at) END
        AS double precision
    ) AS seconds_to_accepted,
    CAST(
        CASE WHEN session.origin <> 'adopted' THEN SECONDS(session.requested_at, session.started_at) END
        AS double precision
    ) AS seconds_to_started,
    CAST(SECONDS(session.started_at, session.ended_at) AS double precision) AS duration_seconds,
    CAST(
        CASE
            WHEN session.state = 'failed' THEN 'siprec_failed'
            WHEN session.state IN ('refused', 'unanswered') THEN session.answer_error_kind
        END AS text
    ) AS error_kind,
    CAST(
        CASE WHEN session.state IN ('refused', 'unanswered') THEN session.answer_status END AS integer
    ) AS error_status,
    CAST(
        CASE WHEN session.state IN ('refused', 'unanswered') THEN session.answer_code END AS text
    ) AS error_code,
    CAST(
        CASE
            WHEN session.state = 'failed' THEN session.failure_detail
            WHEN session.state IN ('refused', 'unanswered') THEN session.answer_detail
        END AS text
    ) AS error_detail,
    api_key.name AS requested_by,
    session.reference,
    session.labels,
    session.stop_requested_by,
    session.attempts,
    session.callbacks,
    session.last_callback_at,
    session_watch.overdue_since,
    session_watch.overdue_why,
    session_watch.presumed_ended_at,
    session_watch.presumed_why,
    session.secure,
    session.sip_transport,
    session.session_timeout_secs
FROM session
LEFT JOIN api_key ON api_key.id = session.api_key_id
LEFT JOIN session_watch ON session_watch.session_id = session.id
WHERE session.merged_into IS NULL
