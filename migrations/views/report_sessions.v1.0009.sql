-- One row per session. As it was, with what follows session_timeout_secs.
-- What is computed is cast: SQLite gives a computed column no type of its own.
SELECT
    explained.session_id,
    explained.origin,
    explained.account_sid,
    explained.call_sid,
    explained.siprec_sid,
    explained.callback_siprec_sid,
    explained.connector_name,
    explained.name,
    explained.track,
    explained.state,
    explained.requested_at,
    explained.accepted_at,
    explained.started_at,
    explained.ended_at,
    explained.stop_requested_at,
    explained.updated_at,
    explained.seconds_to_accepted,
    explained.seconds_to_started,
    explained.duration_seconds,
    explained.error_kind,
    explained.error_status,
    explained.error_code,
    explained.error_detail,
    explained.requested_by,
    explained.reference,
    explained.labels,
    explained.stop_requested_by,
    explained.attempts,
    explained.callbacks,
    explained.last_callback_at,
    explained.overdue_since,
    explained.overdue_why,
    explained.presumed_ended_at,
    explained.presumed_why,
    explained.secure,
    explained.sip_transport,
    explained.session_timeout_secs,
    explained.overdue_kind,
    explained.error_cause,
    CAST(
        CASE
            WHEN substr(explained.overdue_why, 1, 9) = 'unknown: ' THEN 'unknown'
            WHEN explained.overdue_kind IS NOT NULL THEN OVERDUE_CAUSE_1(explained)
            WHEN explained.error_cause IS NOT NULL THEN explained.error_cause
            WHEN explained.presumed_ended_at IS NULL OR explained.state IN ('refused', 'stopped', 'failed') THEN NULL
            WHEN explained.state = 'started' THEN 'end_not_told'
            ELSE 'never_started'
        END AS text
    ) AS cause,
    CAST(
        CASE
            WHEN explained.overdue_kind IS NOT NULL THEN NULL
            WHEN explained.error_cause = 'siprec_failed' THEN explained.error_detail
            WHEN explained.error_cause = 'rejected' THEN COALESCE(explained.error_code, explained.error_detail)
        END AS text
    ) AS cause_text
FROM (
    SELECT
        told.*,
        CAST(ERROR_CAUSE_1(told) AS text) AS error_cause
    FROM (
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
            session.session_timeout_secs,
            session_watch.overdue_kind
        FROM session
        LEFT JOIN api_key ON api_key.id = session.api_key_id
        LEFT JOIN session_watch ON session_watch.session_id = session.id
        WHERE session.merged_into IS NULL
    ) AS told
) AS explained
