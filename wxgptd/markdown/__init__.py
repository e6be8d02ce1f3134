"""What a model's Markdown means: one parser, whose result the chat and the pages each render.

The parser, in `reading.py`, reads CommonMark with tables, and whatever else models write, the way
they mean it: emphasis next to Chinese (`emphasis.py`), formulas (`formulas.py`), URLs, footnotes,
citations and tasks (`notes.py`). It knows nothing about rendering.
"""
