"""The pages: an answer that appears as it is written, and a user's own history."""
