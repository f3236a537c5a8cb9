"""Tasks: what is asked of a trained flow beyond free generation, and what would have been right."""

from flowloom.tasks.base import Task, row_given, some_rows
from flowloom.tasks.complete import completed
from flowloom.tasks.inpaint import Inpaint
from flowloom.tasks.mistold import Mistold
from flowloom.tasks.predict import Predict

__all__ = ["Inpaint", "Mistold", "Predict", "Task", "completed", "row_given", "some_rows"]
