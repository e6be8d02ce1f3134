"""The root of every error that wxgptd raises on purpose.

The docstring of a subclass is the sentence that its reader sees when no better one was given;
`exit_status` is what the process ends with when nobody catches it.
"""

from typing import ClassVar


class WxgptError(Exception):
    """something went wrong"""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or type(self).__doc__ or "")
        self.hint = hint
