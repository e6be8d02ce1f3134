"""The log that several machines share, on NATS JetStream. Imported only with `[cluster]`.

`streams` has its names and rules, `messages` its bytes, `connection` the thread that talks to the
servers, and `nats` the port. The facts about NATS that shaped it are in docs/cluster.md.
"""
