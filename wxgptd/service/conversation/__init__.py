"""Conversations with WeChat and with page readers: attempts, waiting, histories."""
