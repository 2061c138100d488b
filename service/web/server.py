"""A listener for the inside beside the one for everybody, on uvicorn's server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final

from uvicorn.config import Config
from uvicorn.server import Server

from service.bind import Bind

IS_INSIDE: Final = "is_inside"  # in a request's state: its connection came in by the listener of the inside


class PartedServer(Server):
    """Every connection knows from the socket that accepted it whether it came in by `inside`."""

    def __init__(self, config: Config, inside: Bind | None) -> None:
        super().__init__(config)
        self._inside = inside

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        given = sockets or []
        inner = [one for one in given if self._is_inner(one)]
        await super().startup([one for one in given if one not in inner])
        await self._listen_inside(inner)

    def _is_inner(self, listening: socket.socket) -> bool:
        return self._inside is not None and self._inside.is_name_of(listening.getsockname())

    async def _listen_inside(self, sockets: Sequence[socket.socket]) -> None:
        config, state = self.config, {**self.lifespan.state, IS_INSIDE: True}

        def connection() -> asyncio.Protocol:
            made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=state
            )
            return made

        loop = asyncio.get_running_loop()
        for one in sockets:
            server = await loop.create_server(connection, sock=one, ssl=config.ssl, backlog=config.backlog)
            self.servers.append(server)
