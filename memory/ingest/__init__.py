"""What enters the store and long-term memory, and what leaves them again.

Owns the transactions that span several kinds of record (a message with its passages and facts, a deleted
session with all its traces), the extraction of facts from what the user writes, the format of exports, and
documents, of which nothing but passages is made.
"""

from memory.ingest.documents import DocumentSync
from memory.ingest.import_file import read_document
from memory.ingest.ingest import Ingest
from memory.ingest.reading import FactReader

__all__ = ["DocumentSync", "FactReader", "Ingest", "read_document"]
