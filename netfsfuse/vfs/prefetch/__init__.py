"""What is read next: ``prefetch`` fetches it ahead of the reader, ``order`` foresees it."""
