-- One row per time that Telnyx was asked to start a session. Released: a change is a new version beside it.
-- What is computed is cast: SQLite gives a computed column no type of its own.
SELECT
    session_attempt.session_id,
    session_attempt.number,
    session.account_sid,
    session.call_sid,
    session.connector_name,
    session.requested_at,
    session_attempt.asked_at,
    session_attempt.actor AS asked_by,
    session_attempt.answer,
    session_attempt.answered_at,
    CAST(SECONDS(session_attempt.asked_at, session_attempt.answered_at) AS double precision) AS seconds_to_answer,
    session_attempt.siprec_sid,
    session_attempt.error_kind,
    session_attempt.status AS error_status,
    session_attempt.code AS error_code,
    session_attempt.detail AS error_detail
FROM session_attempt
JOIN session ON session.id = session_attempt.session_id
