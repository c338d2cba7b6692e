"""Between the progress of an archive's run and that of the job which it belongs to."""

from muniment.jobs.run import Run

_COUNTED_IN_FILES = ("scan",)


class JobProgress:
    """Writes down how far an archive's run has come, and ends the run when the job is to end; see `archive.ports.Progress`.

    A stage is written as `<stage>/<commit_id>`, or as `<stage>` where it belongs to no commit.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._name, self._done, self._total = "", 0, 0
        self._unit = "bytes"

    def stage(self, commit_id: str, stage: str, total_bytes: int) -> None:
        """Note that a stage begins.

        Raises:
            LostClaimError, JobCancelledError, WorkerStoppingError: As `Run.check`.
        """
        name = stage.replace(" ", "-")
        self._name = f"{name}/{commit_id}" if commit_id else name
        self._unit = "files" if name in _COUNTED_IN_FILES else "bytes"
        self._done, self._total = 0, total_bytes
        self.advance(0)

    def advance(self, size_bytes: int, files: int = 0) -> None:
        """Note that it has done so much more.

        Raises:
            LostClaimError, JobCancelledError, WorkerStoppingError: As `Run.check`.
        """
        self._run.check()
        self._done += files if self._unit == "files" else size_bytes
        total = max(self._total, self._done) if self._total else None  # totals are estimates
        self._run.progress(self._name, self._done, total, self._unit)
