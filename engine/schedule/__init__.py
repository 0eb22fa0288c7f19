"""Decides what each step computes: which requests wait (`queue`), which are admitted and where the start of
their prompt comes from (`admission`), how a step's tokens are shared out (`scheduler`), what a step costs on
this machine (`costs`) and which tokens to draft (`speculation`). Only the scheduler changes a `sequence`."""

from __future__ import annotations

from engine.schedule.costs import StepCosts
from engine.schedule.scheduler import Scheduler, SchedulerLimits
from engine.schedule.sequence import TokenSequence
from engine.schedule.speculation import Speculator

__all__ = ["Scheduler", "SchedulerLimits", "Speculator", "StepCosts", "TokenSequence"]
