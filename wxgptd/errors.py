"""The base class of every error that wxgptd raises on purpose.

The docstring of a subclass is its default message; `exit_status` is the exit status of the process
if the error is not caught.
"""

from typing import ClassVar


class WxgptError(Exception):
    """something went wrong"""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or type(self).__doc__ or "")
        self.hint = hint
