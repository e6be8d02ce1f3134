"""Every sentence that a user reads, and how it is filled in."""
