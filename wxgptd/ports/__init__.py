"""The protocols through which the layers above communicate, and the values they exchange.

An edge (WeChat, the model, the pages, the admin socket) knows these protocols, but none of their
implementations.
"""
