"""Why what an app asked for was not done."""

from __future__ import annotations

from service.domain.notice import Error
from service.domain.session import Session


class UnknownSession(Exception):
    """There is no session of this id."""


class AccountNotAllowed(Exception):
    """The key may not act for this account. Nothing was done."""


class AccountWithoutKey(Exception):
    """There is no Telnyx API key for this account, or none that proves its callbacks. Nothing was done."""


class GetNotVouched(Exception):
    """Callbacks by GET were asked for, and none of this account's could be proven. Nothing was done."""


class TelnyxBusy(Exception):
    """As many requests wait for Telnyx as this process allows. Nothing was done."""


class StillStarting(Exception):
    """The first request with this idempotency key is not answered yet; its session is `session`."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.id)
        self.session = session


class KeyReused(Exception):
    """This idempotency key came with another body before, for `session`.

    None: it came for an account that its API key may not see any more.
    """

    def __init__(self, session: Session | None) -> None:
        super().__init__(session.id if session else "of another account")
        self.session = session


class CannotStop(Exception):
    """`why` tells; `session` is as it stands."""

    def __init__(self, session: Session, why: str) -> None:
        super().__init__(why)
        self.session = session


class StopAsked(CannotStop):
    """Somebody has asked for it before; Telnyx was not asked again."""


class StopFailed(Exception):
    """Telnyx refused to stop the session, or did not answer; `error` tells."""

    def __init__(self, session: Session, error: Error) -> None:
        super().__init__(error.kind)
        self.session = session
        self.error = error
