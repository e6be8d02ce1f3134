"""The process around the service: sockets, threads, systemd, the log format."""
