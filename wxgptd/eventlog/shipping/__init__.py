"""A log's events on their way to a second state directory, over any pipe.

`wxgpt log ship` writes the stream (`sending`), `wxgpt log receive` reads it (`receiving`);
`messages` has its format.
"""
