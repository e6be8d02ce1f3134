"""The WeChat edge: what WeChat posts, and the replies that it accepts."""
