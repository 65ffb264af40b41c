"""What tests ask of processes goes through one client: a client of its own for each question costs 30 ms of a core."""

from __future__ import annotations

from typing import Final

import httpx

HTTP: Final = httpx.Client(trust_env=False, timeout=60)
