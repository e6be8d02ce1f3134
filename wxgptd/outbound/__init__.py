"""Requests to others: model servers, WeChat's own, and the backends that messages go on to."""
