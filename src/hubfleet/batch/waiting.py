"""When a stream that waits says what for: soon, once for each reason, and now and then again.

Users look at a followed log that says nothing and wonder; whoever starts at once should see nothing of this.
Kubernetes' reasons come in quick succession (scheduled, creating, ...) and go back and forth (ErrImagePull,
ImagePullBackOff, and again), so a new one is told once it has lasted, and an old one only as a reminder.

Pure: whoever asks says what time it is, in seconds.
"""

SOON = 2.0
"""Seconds before a reason is told: after the start, and after the reason before it."""

REMINDER = 20.0
"""Seconds of silence after which the reason is told again; clients give up at 60 s of silence."""


class Waiting:
    """What was told of one wait, which begins `now`."""

    def __init__(self, now: float):
        self._last = now
        self._told: set[str] = set()

    def pause(self, reason: str, now: float) -> float:
        """Seconds until there is something to tell, if the reason stays; 0.0 where that is now."""
        return max(0.0, self._last + (REMINDER if reason in self._told else SOON) - now)

    def is_due(self, reason: str, now: float) -> bool:
        """Whether to tell the reason now; it then counts as told."""
        if self.pause(reason, now) > 0:
            return False
        self._last = now
        self._told.add(reason)
        return True
