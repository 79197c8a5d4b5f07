"""One folder per paper, each an adapter behind :class:`bench.method.Method`, and what they take as
given (shared).

Folders named ``methods`` elsewhere on the Python path add theirs.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
