"""The model edge: chat completions from servers that speak OpenAI's dialect."""
