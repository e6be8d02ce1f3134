"""A model's prompt: the messages of a session, and their token counts."""
