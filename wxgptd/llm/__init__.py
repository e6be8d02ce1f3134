"""The model edge: chat completions from OpenAI-compatible servers."""
