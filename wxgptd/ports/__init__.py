"""The protocols through which the floors above talk to each other, and the values they exchange.

An edge (WeChat, the model, the pages, the admin socket) knows these protocols, but none of their
implementations.
"""
