"""Estimate pi by throwing points at a square; a stand-in for a computation of your own."""

import os
import random
import time

points = int(os.environ.get("POINTS", "200000"))
rounds = int(os.environ.get("ROUNDS", "5"))
random.seed(os.environ.get("SEED"))

inside = 0
for n in range(1, rounds + 1):
    inside += sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(points))
    print(f"round {n} of {rounds}: pi is about {4 * inside / (points * n):.5f}", flush=True)
    time.sleep(0.2)

print(f"done: {points * rounds:,} points")
