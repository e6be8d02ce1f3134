"""The conversation with WeChat and with readers: attempts, their waiting, histories."""
