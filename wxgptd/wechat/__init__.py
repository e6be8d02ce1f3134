"""The WeChat edge: what WeChat posts, and what it takes for a reply."""
