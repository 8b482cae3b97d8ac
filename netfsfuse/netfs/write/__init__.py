"""Bytes that programs wrote, on their way to the server. Imports ``io`` and what that stands on;
never ``read``, whose handles it is given by its callers.

``write``          one file that is open for writing: write, read, truncate, drain
``dirty``          PURE: ranges in buffers: dirty, being sent, gone
``errseq``         PURE: each failure told once to each handle
``overlay``        reading what was written, over what the server has
``writeback``      the tasks that send; one owner per file
``write_request``  one folio sent, and what it is when the server has it
``outlet``         what all files share: memory, the link, whose turn it is
"""
