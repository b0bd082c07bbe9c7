"""What clients and servers must agree on, besides the contracts."""

#: Names of metadata: the credential, the workspace that is meant, and what names the call in logs.
AUTHORIZATION = "authorization"
WORKSPACE = "sima-workspace"
REQUEST_ID = "sima-request-id"

#: Largest message in both directions, in bytes; batches are sized by count, and this is the last line of defence.
LARGEST_MESSAGE = 64 * 1024 * 1024
