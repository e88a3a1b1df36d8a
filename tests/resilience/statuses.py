"""The rows of DNS over HTTPS whose first upstream answers with HTTP statuses."""

import rivals
from web_end import STATUSES

WORDS = {
    404: "not found",
    429: "too many requests, without a time",
    500: "internal server error",
    503: "service unavailable, without a time",
}


def rows(fault, step, begins, bars):
    """`fault` and `step` make a row and one of its steps; the second upstream is good."""
    found = []
    for status in STATUSES:
        for suffix, which in (("-quarter", "to one request in four"), ("", "to every request")):
            mode = f"{status}{suffix}"
            found.append(fault(
                f"https-{mode}-first",
                f"DNS over HTTPS; the first upstream says {status} ({WORDS[status]}) {which}",
                [step(begins, lambda trial, mode=mode: trial.world.web(mode, trial.world.a))],
                lasts=10, transport=rivals.HTTPS, is_web=True, bars=bars,
            ))
    return found
