"""A model's text as shown in the chat, and how an answer is divided into replies."""
