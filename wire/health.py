"""``python -m wire.health grpc://HOST:PORT`` or ``http://HOST:PORT``: whether a process of ours answers; 0 or 1.

``grpc``: the standard health service says SERVING. ``http``: ``GET /health`` of a control port; it asks for no token.
Meant for container health checks, which run every few seconds: neither torch nor a web framework is imported.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

TIMEOUT_S = 4.0
_USAGE = "expected grpc://HOST:PORT or http://HOST:PORT"


def check(url: str, timeout: float = TIMEOUT_S) -> str | None:
    """None when the process at ``url`` is healthy, else why not, in one line. ValueError for another kind of URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("grpc", "http") or parts.hostname is None or parts.port is None:
        raise ValueError(f"{url!r}: {_USAGE}")
    asked = _grpc if parts.scheme == "grpc" else _http
    return asked(parts.hostname, parts.port, timeout)


def _http(host: str, port: int, timeout: float) -> str | None:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"answered {status}"


def _grpc(host: str, port: int, timeout: float) -> str | None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            status = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout).status
        except grpc.RpcError as error:
            return f"no answer: {error.code().name}"
    serving = health_pb2.HealthCheckResponse.SERVING
    return None if status == serving else health_pb2.HealthCheckResponse.ServingStatus.Name(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the one URL that is given; the exit code (2 for another number of arguments, or no such URL)."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        (url,) = given
        why = check(url)
    except ValueError as error:
        print(f"health: {error if len(given) == 1 else _USAGE}", file=sys.stderr)
        return 2
    if why is not None:
        print(f"health: {url}: {why}", file=sys.stderr)
    return 0 if why is None else 1


if __name__ == "__main__":
    sys.exit(main())
