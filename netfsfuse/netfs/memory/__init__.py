"""Memory: ``buffer``, the ``pool`` of them, the ``mapping`` from blocks to subrequests."""
