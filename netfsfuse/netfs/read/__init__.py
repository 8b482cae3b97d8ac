"""Answers to reads of a handle. Imports ``io`` and what that stands on; never ``write``.

``read``          runs the stages in order
``read_request``  one read under way: its pieces made one answer
``read_through``  straight from the server, where nothing may be kept
``fetch_ahead``   reading ahead, as far as buffers go
"""
