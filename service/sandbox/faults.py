"""What can be broken while calls are live, and mended: what the buttons of the demo's page do."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final

from .behaviour import Behaviour
from .calls import Calls
from .freezer import Freezer
from .state import State

# Telnyx reaches the recording server first, which takes a moment.
WELL: Final = Behaviour(started_after_seconds=0.4)
NO_RECORDER: Final = Behaviour(started_after_seconds=0.4, fails="no-answer")


@dataclass(frozen=True)
class LiveSession:
    """A call as Telnyx knows it. `is_recorded` is the truth that nobody can ask for."""

    call_sid: str
    is_recorded: bool


class Faults:
    """`told` is called with what was done, in words. Any thread may break and mend."""

    def __init__(
        self, telnyx: State, calls: Calls, freezer: Freezer, announce: Callable[[str], None]
    ) -> None:
        self._telnyx = telnyx
        self._calls = calls
        self._freezer = freezer
        self._announce = announce
        self._lock = Lock()
        self.is_recorder_dead = False
        telnyx.behave(WELL)

    @property
    def are_callbacks_held(self) -> bool:
        return self._telnyx.is_holding

    @property
    def is_frozen(self) -> bool:
        return self._freezer.is_frozen

    def live(self) -> list[LiveSession]:
        recorded = self._recorded()
        return [LiveSession(call.sid, call.sid in recorded) for call in self._calls.live()]

    def kill_recorder(self) -> None:
        """No media flows any more: Telnyx tells so of what runs, and of what is to start. Calls go on."""
        with self._lock:
            self._announce("the recorder is dead")
            self.is_recorder_dead = True
            self._telnyx.behave(NO_RECORDER)
            for call in self._calls.live():
                self._telnyx.break_off(call.sid)
            self._calls.begin_soon()

    def drop_callbacks(self) -> None:
        """Telnyx accepts, and records, and nothing is heard of it."""
        with self._lock:
            self._announce("callbacks are dropped from now on")
            self._telnyx.hold()
            self._calls.begin_soon()

    def freeze_database(self) -> None:
        """Nothing can be written, for a minute at most. Raises CannotFreeze."""
        with self._lock:
            self._freezer.freeze()
            self._announce("the database is frozen")
            recorded = self._recorded()
            first = [call.sid for call in self._calls.live() if call.sid in recorded][:1]
            self._calls.hang_up_soon(set(first))  # so that a callback has to be kept

    def mend(self) -> None:
        """All of it. Callbacks that were held come now; calls that lost their recording are hung up."""
        with self._lock:
            self._announce("all is mended: held callbacks come now, calls without a recording are hung up")
            self._freezer.thaw()
            self.is_recorder_dead = False
            self._telnyx.behave(WELL)
            self._telnyx.release()
            lost = {call.sid for call in self._calls.live() if call.session_id is not None} - self._recorded()
            self._calls.hang_up_soon(lost)

    def _recorded(self) -> set[str]:
        return {one.call_sid for one in self._telnyx.sessions if not one.is_over}
