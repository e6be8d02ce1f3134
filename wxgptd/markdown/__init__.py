"""What a model's Markdown means: one parser, whose result the chat and the pages each render.

The parser, in `reading.py`, reads CommonMark with tables, and what else models write, the way they
mean it: emphasis next to Chinese (`emphasis.py`), formulas (`formulas.py`), addresses, footnotes,
citations and tasks (`notes.py`). It does not know how anything is shown.
"""
