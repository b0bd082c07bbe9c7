"""Every query of the profile service, by what it serves. All take the workspace and psycopg's connection.

- `appending`: facts that come in, and the times of messages that state none
- `conflicts`: one message with two contents
- `owning`: which identifiers own facts, following identity
- `rewriting`: facts that get another owner
- `reading`: what a profile is folded from, and timelines
- `feed`: the rows behind a cursor
- `upkeep`: partitions, and what is kept for a while only
- `sessions`, `times`: how connections are set up, and how instants are written
"""
