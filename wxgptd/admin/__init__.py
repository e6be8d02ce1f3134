"""The admin socket: what the operator's command line asks of a running daemon."""
