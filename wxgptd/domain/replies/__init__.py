"""Every text that users read, and how its placeholders are filled in."""
