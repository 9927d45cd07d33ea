"""`python -m tests.cases [NUMBER...]`: exit status 1 where a case is not right."""

import sys

from tests.cases.play import main

sys.exit(main())
