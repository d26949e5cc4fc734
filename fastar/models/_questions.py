"""Questions that every model of rows, and every mixture of them, answers."""

from __future__ import annotations

from fastar.models._column_questions import ColumnQuestions
from fastar.models._joint_questions import JointQuestions


class AnswersQuestions(ColumnQuestions, JointQuestions):
    """Mixin of models of rows, and of mixtures of them."""
