-- One row per delivery that was rejected and kept. Released: a change is a new version beside it.
SELECT
    rejected_delivery.sequence AS rejected_id,
    rejected_delivery.received_at,
    rejected_delivery.reason,
    rejected_delivery.answered,
    rejected_delivery.method,
    rejected_delivery.account_sid AS claimed_account_sid,
    rejected_delivery.call_sid AS claimed_call_sid
FROM rejected_delivery
