// From the roofline to the simulated time, each loss once.
//
// The reference is the resource whose roofline is the larger. When it is memory, the time of all pseudo-channels is
// looked at: every picosecond of each is spent transferring, waiting for a bank, a refresh or a turn of the bus, or
// idle. Divided by the number of channels these are microseconds that add up to the elapsed time. Transfers beyond the
// roofline's bytes (what was read twice, or written back and read again) are "extra traffic".
//
// When it is compute, the same is done with the time in which the SMs do arithmetic: the tensor cores' in kernels that
// use them, the vector units' and the SFU's in the others. Arithmetic beyond the useful FLOPs is padding of edge tiles
// and what a mask throws away. Where the counters saw less arithmetic than the FLOPs take at peak (FLOPs that a step
// does not book), the idle time is reduced in proportion, so that each microsecond is still counted once.
//
// What the reference resource spends idle is put down to the phase of the kernel in which it happens:
//   launch gap   [the previous kernel's end, first CTA dispatched)
//   ramp-up      [first CTA, first tile landed); none where no tile lands
//   tail         [first SM without work, end): load imbalance, wave quantisation and the last tiles' way
//   in between   shared out. Memory: time that SMs computed while nothing was asked of memory ("exposed compute") or
//                that results waited to leave ("exposed stores"), and the rest by where loads spent their time:
//                memory's queue, the interposer, L2, the far partition's link, crossbar. Compute: vector work, waiting
//                for stores to leave, and waiting for data. Roles' waits are weighted as long as they are, also those
//                behind which another warpgroup computes.
// Phases of kernels that overlap (dependent launches) are clipped to be disjoint. Work is booked when it begins: what a
// phase is too short for is carried to the next.
#pragma once

#include <vector>

#include "result/run.h"

namespace memwall::result {

/// The first entry is the larger roofline; the entries add up to the run's time. Throws ModelError if they do not.
std::vector<Loss> waterfall(const RunDescription& run, const Observations& seen, const RunResult& result);

}  // namespace memwall::result
