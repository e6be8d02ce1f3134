"""`python -m wxgpt`"""

from wxgpt.main import main

main()
