"""gRPC's options, exactly. What is not listed is left alone: nothing was gained by touching it.

Never set ``grpc.http2.bdp_probe`` to 0: over a link with delay it costs most of the rate.
"""

from __future__ import annotations

Options = tuple[tuple[str, int], ...]

MESSAGE_MAX = 8 << 20
"""gRPC refuses larger messages before we see them (its own default is 4 MiB)."""

_BOTH: Options = (
    ("grpc.max_send_message_length", MESSAGE_MAX),
    ("grpc.max_receive_message_length", MESSAGE_MAX),
    # The timeout becomes TCP_USER_TIMEOUT and also fires on a stalled link: above the longest stall.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)

CHANNEL: Options = (
    *_BOTH,
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    # No wait between attempts, despite its name: the time that one attempt may take, TLS and a slow link included.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.enable_retries", 0),  # resuming is the session's business
    ("grpc.enable_http_proxy", 0),  # or http_proxy catches even 127.0.0.1
)

SERVER: Options = (
    *_BOTH,
    ("grpc.so_reuseport", 0),  # or a second server shares the port in silence
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)
