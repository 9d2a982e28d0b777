"""Calls the asynchronous methods of an object in another process, many at a time, over a socket."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
import traceback
from contextlib import suppress
from typing import Any

from infra.errors import EngineError

_SIZE = struct.Struct("<Q")


class SocketCalls:
    """The caller's end of a connected Unix socket; :func:`answer_calls` is the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._count = 0
        self._lost = False
        self._receiver = asyncio.create_task(self._receive())

    @classmethod
    async def over(cls, end: socket.socket) -> SocketCalls:
        """Take over one end of a pair of sockets."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    async def call(self, method: str, *arguments: Any) -> Any:
        """Return what the method returns, and raise what it raises.

        Of errors only :class:`EngineError` keeps its kind, others become ``RuntimeError``. If the
        other process is gone that is an :class:`EngineError` too.
        """
        if self._lost:
            raise EngineError("the engine's process is gone")
        self._count += 1
        number = self._count
        self._open[number] = future = asyncio.get_running_loop().create_future()
        try:
            await _send(self._writer, (number, method, arguments))
            return await future
        except ConnectionError as error:
            raise EngineError(f"the engine's process is gone: {error}") from error
        finally:
            self._open.pop(number, None)

    async def close(self) -> None:
        """End the connection, and with it the other end's work; again does nothing."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _receive(self) -> None:
        try:
            while True:
                number, value, error = await _read(self._reader)
                future = self._open.get(number)
                if future is None or future.done():
                    continue
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(value)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._lost = True
            for future in self._open.values():
                if not future.done():
                    future.set_exception(EngineError("the engine's process died"))


async def answer_calls(target: Any, end: socket.socket) -> None:
    """Let the other end call the methods of ``target`` until it closes the connection."""
    reader, writer = await asyncio.open_unix_connection(sock=end)
    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            number, method, arguments = await _read(reader)
            task = asyncio.create_task(_answer(writer, number, getattr(target, method), arguments))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _answer(
    writer: asyncio.StreamWriter, number: int, method: Any, arguments: tuple[Any, ...]
) -> None:
    value: Any = None
    error: Exception | None = None
    try:
        value = await method(*arguments)
    except EngineError as raised:
        error = raised
    except Exception as raised:
        traceback.print_exc()
        error = RuntimeError(repr(raised))
    with suppress(ConnectionError):  # nobody waits for it any more
        await _send(writer, (number, value, error))


async def _send(writer: asyncio.StreamWriter, message: tuple[Any, ...]) -> None:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    writer.write(_SIZE.pack(len(data)) + data)
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Any:
    (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
    return pickle.loads(await reader.readexactly(size))
