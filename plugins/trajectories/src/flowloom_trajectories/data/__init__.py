"""Motion and series as data."""

from flowloom_trajectories.data.crossroads import Crossroads
from flowloom_trajectories.data.crowd import Crowd
from flowloom_trajectories.data.mazes import MazePlans
from flowloom_trajectories.data.pedestrians import SCENES, Pedestrians, Walks
from flowloom_trajectories.data.populations import Branching
from flowloom_trajectories.data.processes import GaussianProcess, Periodic
from flowloom_trajectories.data.series import Series
from flowloom_trajectories.data.tracks import Tracks, read_tracks

__all__ = [
    "SCENES",
    "Branching",
    "Crossroads",
    "Crowd",
    "GaussianProcess",
    "MazePlans",
    "Pedestrians",
    "Periodic",
    "Series",
    "Tracks",
    "Walks",
    "read_tracks",
]
