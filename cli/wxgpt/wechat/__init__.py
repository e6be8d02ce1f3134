"""Play WeChat: build messages, deliver them, and judge the replies."""
