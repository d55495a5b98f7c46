"""The test kit that applications use: an app in process, on a virtual clock."""

from zocket.testing.app import TestApp, finalizers
from zocket.testing.clock import MovableClock, ShiftedClock, VirtualClock
from zocket.testing.loop import Deadlock, VirtualLoop

__all__ = ["Deadlock", "MovableClock", "ShiftedClock", "TestApp", "VirtualClock", "VirtualLoop", "finalizers"]
