"""A worker whose pipe is slow: it answers late, and says that a step took a millisecond."""

from __future__ import annotations

import os
import time

from benchmarks import protocol
from benchmarks.worker import Worker


class SlowWorker(Worker):
    def warm_up(self, window_s: float, limit_s: float) -> protocol.Answer:
        return {"steps": 1, "seconds": 0.001, "stable": True, "step_s": 0.001}

    def window(self, steps: int) -> protocol.Answer:
        time.sleep(float(os.environ["TANDEM_TEST_DELAY_S"]))
        return {"seconds": 0.001 * steps, "steps": steps}


if __name__ == "__main__":
    answers = protocol.claim_stdout()
    protocol.serve(SlowWorker().handlers(), answers)
