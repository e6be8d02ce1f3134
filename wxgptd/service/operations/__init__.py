"""What the operator and systemd see and do: control, health, reloading, what is looked after."""
