"""`python -m codecbwe_jax` is `codecbwe`."""

import sys

from codecbwe_jax.cli import main

sys.exit(main())
