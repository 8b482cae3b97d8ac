"""What is read next: ``prefetch`` fetches it ahead of the reader, a ``fetch`` each,
``order`` foresees it."""
