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
    /// Of the L2's lines, how many hold data of earlier work that memory has not seen yet, 0 to 1; see
    /// steady_dirty_share.
    double dirty_share = 0;
    /// Step of the common grid in ps; 0: the largest that the floorplan allows. Results do not depend on it.
    std::int64_t step_ps = 0;
};

/// The share of dirty lines that work leaves in an L2 which it has filled, and so the share that it finds there when it
/// is one launch of many: as bytes written to bytes held. A line that is read is held at home and, as every other one
/// is asked for from the far side, in half of the cases as a copy there; a line that is written only at home.
double steady_dirty_share(double read_bytes, double written_bytes);

/// Throws ModelError when the machine deadlocks (who waits for what) or a part lost a byte, InputError when a kernel
/// does not fit the device.
Observations simulate(const device::Device& device, const trace::Trace& trace, const RunOptions& options = {});

}  // namespace memwall::chip
