// From the roofline to the simulated time, each loss once.
//
// The reference is the resource whose roofline is the larger. When it is memory, the time of all pseudo-channels is looked
// at: every picosecond of each is spent transferring, waiting for a bank, a refresh or a turn of the bus, or idle. Divided
// by the number of channels these are microseconds that add up to the elapsed time. When it is compute, the same is done
// with the SMs' tensor cores (or, where the arithmetic is not theirs, with the time that the arithmetic takes at peak).
//
// What the reference resource spends idle is put down to the phase of the kernel in which it happens:
//   launch gap   [the previous kernel's end, first CTA dispatched)
//   ramp-up      [first CTA, first tile landed)
//   tail         [first SM without work, end): load imbalance and the last tiles' way
//   in between   shared out: time that SMs computed while nothing was asked of memory ("exposed compute"), and the rest
//                by where loads spent their time: memory's queue, the interposer, L2, the far partition's link, crossbar.
// Phases of kernels that overlap (dependent launches) are clipped to be disjoint.
#pragma once

#include <vector>

#include "result/run.h"

namespace memwall::result {

/// The first entry is the larger roofline; the entries add up to the run's time. Throws ModelError if they do not.
std::vector<Loss> waterfall(const RunDescription& run, const Observations& seen, const RunResult& result);

}  // namespace memwall::result
