"""Operations: operator control, health checks, reloading and chores."""
