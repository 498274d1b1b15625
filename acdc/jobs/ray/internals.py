"""The private parts of Ray that are used, each for something that Ray offers in no public way.

They are reached through the module that was imported, as Ray is optional and slow to import.
"""

from typing import Any

# Loggers of what sends files to a cluster, which report every file on stderr.
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")


def listens_on_the_network(ray: Any) -> bool:
    """Whether servers that are started here listen on every network device: Ray reads its setting when it is imported,
    and keeps what it read here alone."""
    return ray._private.ray_constants.ENABLE_RAY_CLUSTER


def read_settings_again(ray: Any) -> None:
    """Let a Ray that is imported already read the environment's settings, whether servers want a token among them."""
    ray._raylet.Config.initialize("")
