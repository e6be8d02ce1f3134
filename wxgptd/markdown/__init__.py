"""What a model's Markdown means: one reading, of which the chat and the pages each make their own.

`reading.py` has the parser. It is CommonMark with tables and what models write besides, read the
way they mean it: emphasis beside Chinese (`emphasis.py`), formulas (`formulas.py`), addresses,
footnotes, citations and tasks (`notes.py`). It knows nothing of how anything is shown.
"""
