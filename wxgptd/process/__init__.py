"""The process around the service: sockets, threads, systemd, what the log looks like."""
