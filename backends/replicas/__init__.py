"""Several replicas of a network that train together, each in a process of its own. Imports no framework."""

from .failures import ReplicaFailure
from .group import TIME_LIMIT_S, ReplicaGroup

__all__ = ["TIME_LIMIT_S", "ReplicaFailure", "ReplicaGroup"]
