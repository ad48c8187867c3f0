"""How a server is connected to: found soon when it comes back, and never through a proxy."""

from __future__ import annotations

import grpc
import tritonclient.grpc as grpcclient

from serving.backends.triton_settings import Address, TritonSettings

_CHANNEL = (
    # Options of our own replace the client's, message limits included.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default a server that comes back is found after up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A server that vanished without a word is noticed.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 2),
    # Never through a proxy: it would be shown the pictures, and nobody sees what is behind it.
    ("grpc.enable_http_proxy", 0),
)


def open_client(address: Address, settings: TritonSettings) -> grpcclient.InferenceServerClient:
    """A client of one server; it connects when it is first asked.

    Raises:
        InvalidInput: a certificate or key cannot be read.
    """
    credentials = None
    if address.secure:
        credentials = grpc.ssl_channel_credentials(
            settings.pem("ca_file"), settings.pem("key_file"), settings.pem("cert_file")
        )
    return grpcclient.InferenceServerClient(
        address.target, creds=credentials, channel_args=list(_CHANNEL)
    )
