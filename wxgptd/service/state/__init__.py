"""State: the journal (its only writer), projections, snapshots, settings and metrics."""
