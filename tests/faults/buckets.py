"""A server that speaks S3, in this process and on this machine alone; its answers can be lost.

Objects are those of moto. Requests are served one after the other, so that a condition and the
write that hangs on it are one step, as they are on S3.
"""

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moto.moto_server.werkzeug_app import create_backend_app, DomainDispatcherApplication
from werkzeug.serving import make_server

Fault = Callable[[str, str], str]  # from method and path to "", "before", "after" or "deny"
ANSWERS = {"before": "503 Slow Down", "after": "503 Slow Down", "deny": "403 Forbidden"}


def well(method: str, path: str) -> str:
    """Answer everything."""
    return ""


def once(method: str, fault: str) -> Fault:
    """Give a fault to the next request of a method alone."""
    left = [fault]
    return lambda asked, path: left.pop() if asked == method and left else ""


def writes_from(number: int, last: float = float("inf")) -> Fault:
    """Refuse all writes from one on, to one."""
    count = itertools.count(1)
    return lambda method, path: (
        "before" if method in ("PUT", "DELETE") and number <= next(count) <= last else ""
    )


@dataclass
class Server:
    """What the tests know of the server.

    Parameters
    ----------
    address : str
        Where it is.
    fault : callable
        Asked for each request: "before" answers 503 and does nothing, "after" does it and answers
        503, "deny" answers 403.
    """

    address: str = ""
    fault: Fault = well

    @property
    def settings(self) -> dict[str, str]:
        """What a process has to have in its environment to find it."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def serving() -> Iterator[Server]:
    """Serve.

    Yields
    ------
    Server
        To give it faults.
    """
    for name in ("werkzeug", "moto"):
        logging.getLogger(name).setLevel(logging.ERROR)
    known, lock = Server(), threading.Lock()
    objects = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with lock:
            fault = known.fault(method, path)
            given: list[Any] = []
            body = []
            if fault in ("", "after"):
                body = [b"".join(objects(environ, lambda *words: given.append(words)))]
        start(*((ANSWERS[fault], []) if fault else given[0]))
        return [] if fault else body

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    known.address = f"http://127.0.0.1:{server.port}"
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
