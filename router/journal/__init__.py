"""The journal: decisions and rewards as lines of JSON beside the store, so that another policy can be replayed on them.

It holds no payload and no token. It is bounded, and it may lose lines (counted): predictions never wait for it.
"""

from router.journal.writer import Journal, journal_folder, journal_of

__all__ = ["Journal", "journal_folder", "journal_of"]
