"""Serves a request handler on loopback, in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def serve_on_loopback(handler: type[BaseHTTPRequestHandler], **state: Any) -> Iterator[str]:
    """Serve until the block ends; yield the address. Handlers see ``state`` as attributes."""
    known = type("Handler", (handler,), state)
    server = ThreadingHTTPServer(("127.0.0.1", 0), known)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
