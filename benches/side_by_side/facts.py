"""The names and addresses that servers are configured with and asked for."""

UPSTREAM = ("127.0.0.1", 5299)

PUBLIC = "cloud.defender.microsoft.com"
PRIVATE = f"privatelink.{PUBLIC}"
PRIVATE_ADDRESS = "10.1.0.5"
UPSTREAM_ADDRESS = "198.51.100.7"
PRIVATE_NAMES = 1_000


def private_names():
    return [f"h{number:04}.{PUBLIC}" for number in range(PRIVATE_NAMES)]
