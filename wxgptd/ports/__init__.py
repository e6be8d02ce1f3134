"""What the floors above speak to each other through, and the values that pass.

An edge (WeChat, the model, the pages, the admin socket) knows these protocols and nobody who
implements them.
"""
