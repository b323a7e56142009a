"""Members of a fleet come from addresses of their own, as machines do: what servers bound by address, they bound for each."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

__all__ = ["ADDRESS", "Loop"]

ADDRESS: ContextVar[str | None] = ContextVar("address", default=None)
"""Where the connections of this context come from; all of 127.0.0.0/8 is this machine's."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose connections to the server come from `ADDRESS`."""

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """As the loop's own."""
        address = ADDRESS.get()
        if address is not None and arguments[1:2] == ("127.0.0.1",):
            options["local_addr"] = (address, 0)
        return await super().create_connection(*arguments, **options)
