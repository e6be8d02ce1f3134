"""The model edge: chat completions of servers that speak OpenAI's dialect."""
