"""What is made of a model's words for the chat, and how an answer is divided into replies."""
