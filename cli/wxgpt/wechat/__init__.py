"""Play WeChat: messages, where they are delivered, and what comes back."""
