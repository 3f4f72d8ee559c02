"""The service: decisions, rewards, processes. Whatever imports it does so before gRPC, whose way to wait is chosen here."""

import os

# gRPC's newer loops hand each message from thread to thread more often. Without them a request at a saturated gRPC front
# takes 365-369 us of CPU, not 424-431, one that passes through 258-269, not 292-296 (grpcio 1.85, load 15, interleaved).
# Its own tests here and conformance hold with either. Who sets the variable has their way.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener,-event_engine_client")
