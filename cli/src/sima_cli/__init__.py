"""The `sima` command."""

import os

# Read when gRPC is first imported. What it prepares for a fork crashes the child now and then, and here every child
# begins another program at once (PostgreSQL's, as another user, for which Python has to fork).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
