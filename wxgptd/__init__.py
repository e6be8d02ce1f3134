"""wxgptd: the daemon between a WeChat Official Account and a slow chat model.

ARCHITECTURE.md describes the layers, the rule of order and the life of one message.
"""

__version__ = "0.1.0"
