"""State: the journal, which alone writes it; projections, snapshots, settings and metrics."""
