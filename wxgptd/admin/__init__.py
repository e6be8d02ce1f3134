"""The admin socket, through which the operator's command line talks to a running daemon."""
