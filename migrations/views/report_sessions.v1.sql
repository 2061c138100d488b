-- One row per session. Released: a change is a new version beside it.
SELECT
    session.id AS session_id,
    session.origin,
    session.account_sid,
    session.call_sid,
    COALESCE(session.answer_siprec_sid, session.callback_siprec_sid) AS siprec_sid,
    CASE WHEN session.callback_siprec_sid <> session.answer_siprec_sid THEN session.callback_siprec_sid END AS callback_siprec_sid,
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
    CASE WHEN session.origin <> 'adopted' THEN SECONDS(session.requested_at, session.accepted_at) END
        AS seconds_to_accepted,
    CASE WHEN session.origin <> 'adopted' THEN SECONDS(session.requested_at, session.started_at) END
        AS seconds_to_started,
    SECONDS(session.started_at, session.ended_at) AS duration_seconds,
    CASE
        WHEN session.state = 'failed' THEN 'siprec_failed'
        WHEN session.state IN ('refused', 'unanswered') THEN session.answer_error_kind
    END AS error_kind,
    CASE WHEN session.state IN ('refused', 'unanswered') THEN session.answer_status END AS error_status,
    CASE WHEN session.state IN ('refused', 'unanswered') THEN session.answer_code END AS error_code,
    CASE
        WHEN session.state = 'failed' THEN session.failure_detail
        WHEN session.state IN ('refused', 'unanswered') THEN session.answer_detail
    END AS error_detail,
    api_key.name AS requested_by,
    session.reference,
    session.labels
FROM session
LEFT JOIN api_key ON api_key.id = session.api_key_id
WHERE session.merged_into IS NULL
