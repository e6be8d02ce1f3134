"""Outgoing requests: to model servers, WeChat, and the backends that messages are forwarded to."""
