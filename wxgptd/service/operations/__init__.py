"""Operations: the operator's control, health checks, reloading and chores."""
