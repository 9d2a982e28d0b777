"""Proves over a real socket that connections are reused and that the key shows in no log."""

import asyncio
import json
import logging
import pickle
import traceback

import pytest

from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.wire import EndpointSettings
from infra.errors import PromptTooLong, RequestFailed
from infra.protocol import Completion, Message, Request, SamplingParams
from infra.secrets.secrets import Secret

KEY = "sk-very-secret-0123456789"
OTHER_KEY = "sk-refused-9876543210"


class LoopbackServer:
    """Speaks just enough HTTP/1.1 on loopback; counts connections and checks the key."""

    def __init__(self) -> None:
        self.connections = 0
        self.cut_next = False

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().splitlines()
                length = next(int(line.split(":")[1]) for line in lines if "content-length" in line)
                await reader.readexactly(length)
                if self.cut_next:
                    self.cut_next = False
                    break
                key = next(line for line in lines if line.startswith("authorization:")).split()[-1]
                status, body = self._answer(key)
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
                )
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def _answer(self, key: str) -> tuple[int, bytes]:
        if key != KEY:
            return 401, json.dumps({"error": {"message": f"wrong key: {key}"}}).encode()
        return 200, json.dumps({"choices": [{"message": {"content": "hi"}}]}).encode()


def request(n: int) -> Request:
    return Request(f"r{n}", (Message("user", "q"),), None, SamplingParams(0.7, 0.9, 8))


def test_connections_are_kept_and_a_cut_one_is_replaced() -> None:
    async def main() -> None:
        server = LoopbackServer()
        async with server as base_url:
            plan = EndpointSettings(base_url, "tiny", max_concurrency=4, backoff_s=0.001)
            engine = EndpointEngine(plan, Secret(KEY))
            done = await asyncio.gather(*(engine.generate(request(n)) for n in range(40)))
            assert len(done) == 40
            assert server.connections <= 4
            server.cut_next = True
            assert (await engine.generate(request(41))).text == "hi"
            await engine.close()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_key_shows_in_no_log_repr_or_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "infra"):
        caplog.set_level(logging.DEBUG, logger=name)

    async def main() -> list[str]:
        shown: list[str] = []
        async with LoopbackServer() as base_url:
            plan = EndpointSettings(base_url, "tiny", key_reference="env:OC_KEY")
            engine = EndpointEngine(plan, Secret(KEY))
            assert isinstance(await engine.generate(request(0)), Completion)
            shown += [repr(engine), repr(plan), repr(vars(engine)), repr(vars(engine._client))]
            await engine.close()
            wrong = EndpointEngine(plan, Secret(OTHER_KEY))
            try:
                await wrong.generate(request(1))
            except RequestFailed as error:
                assert error.fatal
                assert "check the key (it comes from env:OC_KEY)" in str(error)
                assert "wrong key: ***" in str(error)
                shown.append("".join(traceback.format_exception(error)))
            await wrong.close()
        return shown

    shown = asyncio.run(asyncio.wait_for(main(), 10))
    assert "httpcore" in {record.name.split(".")[0] for record in caplog.records}
    assert len(shown) == 5
    everything = "".join(shown) + caplog.text
    assert KEY not in everything
    assert OTHER_KEY not in everything


def test_settings_and_errors_travel_between_processes() -> None:
    plan = EndpointSettings("http://x/v1", "tiny", key_reference="env:OC_KEY")
    assert pickle.loads(pickle.dumps(plan)) == plan
    error = pickle.loads(pickle.dumps(PromptTooLong("long")))
    assert (type(error), str(error), error.fatal) == (PromptTooLong, "long", False)
