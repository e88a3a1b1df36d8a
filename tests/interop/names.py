"""The private-link zones of the run, and the long and the random names below them."""

import random
import string
from dataclasses import dataclass

MAX_NAME_OCTETS = 255
MAX_LABEL_OCTETS = 63


@dataclass(frozen=True)
class Zone:
    public: str
    private: str

    def hop(self, label):
        """Where the public name's CNAME must point: the label kept."""
        return f"{label}.{self.private}"


# Wildcard, with listed names.
DEFENDER = Zone("cloud.defender.microsoft.com", "privatelink.cloud.defender.microsoft.com")
# Unlisted names do not exist; the private zone is not privatelink + public zone.
VAULT = Zone("vault.azure.net", "privatelink.vaultcore.azure.net")
# Unlisted names are other tenants'; the endpoint has both families.
DATABASE = Zone("database.windows.net", "privatelink.database.windows.net")
ALL = [DEFENDER, VAULT, DATABASE]


def octets(name):
    return sum(1 + len(label) for label in name.split(".")) + 1


def long_label(zone, limit=MAX_NAME_OCTETS):
    """Labels that fill a name below `zone` up to exactly `limit` octets."""
    left = limit - octets(zone)
    labels = []
    while left > 0:
        # No rest of one octet: a label has a length octet and at least one more.
        size = min(MAX_LABEL_OCTETS, left - 1)
        if left - 1 - size == 1:
            size -= 1
        labels.append("l" * size)
        left -= 1 + size
    return ".".join(labels)


def random_labels(count, seed):
    """One to three labels each, of letters, digits, `-` and `_`."""
    source = random.Random(seed)
    inner = string.ascii_lowercase + string.digits + "-_"
    ends = string.ascii_lowercase + string.digits

    def label():
        middle = "".join(source.choices(inner, k=source.randint(0, 20)))
        return source.choice(ends) + middle + source.choice(ends)

    return [".".join(label() for _ in range(source.randint(1, 3))) for _ in range(count)]
