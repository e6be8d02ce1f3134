"""What a message means, and who handles it."""
