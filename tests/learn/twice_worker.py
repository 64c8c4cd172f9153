"""Two commands one after the other, by processes that were started together: words, ``THEN``, words."""

import sys

from backcast.cli import main

middle = sys.argv.index("THEN")
sys.exit(main(sys.argv[1:middle]) or main(sys.argv[middle + 1 :]))
