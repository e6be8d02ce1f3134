"""A node's part in a cluster: `standing` knows whether it leads, `following` what it follows."""
