// How the rooms are joined: the only file that knows all of them.
//
// simulate() builds a chip from a device description, runs a trace on it to the end and reports what it saw. Same
// device, same trace: bit-identical observations.
#pragma once

#include <functional>
#include <vector>

#include "base/observations.h"
#include "device/device.h"
#include "trace/trace.h"

namespace memwall::chip {

struct RunOptions {
    bool timeline = false;
    std::vector<int> timeline_sms;  ///< SMs whose spans are kept; empty: 0, 1 and 2
    /// Called now and then with the kernels completed and the simulated time; may throw to interrupt.
    std::function<void(std::size_t kernels_done, Ps now)> progress;
    /// Step of the common grid in ps; 0: the largest that the floorplan allows. Results do not depend on it.
    std::int64_t step_ps = 0;
};

/// Throws ModelError when the machine deadlocks (who waits for what) or a part lost a byte, InputError when a kernel
/// does not fit the device.
Observations simulate(const device::Device& device, const trace::Trace& trace, const RunOptions& options = {});

}  // namespace memwall::chip
