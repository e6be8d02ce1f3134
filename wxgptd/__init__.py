"""wxgptd: the daemon between a WeChat Official Account and a slow chat model.

The floors, the rule of order and the life of one message are described in ARCHITECTURE.md.
"""

__version__ = "0.1.0"
