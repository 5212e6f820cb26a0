// What the tile recorder of the kernels wrote, as a memwall-trace/1 recording: plain data and arithmetic, no CUDA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "case.h"
#include "recorder.h"

namespace memwall::measure {

/// One instrumented kernel's run.
struct RecordedKernel {
    std::string name;
    Case what;                                 ///< op, params, schedule
    double time_us = 0, recorded_time_us = 0;  ///< of the kernel without and with the recorder
    std::vector<kernels::TileEvent> events;    ///< [ctas][capacity]
    std::vector<std::uint32_t> counts;         ///< events of each CTA, may exceed the capacity
    std::vector<kernels::ClockPair> clocks;    ///< of each CTA
    std::uint32_t capacity = 0;
};

/// Nanoseconds since `origin_ns` at which a CTA's SM clock showed `cycles`: a straight line through the CTA's two
/// readings of both clocks.
[[nodiscard]] double nanoseconds(const kernels::ClockPair& clocks, std::uint64_t cycles, std::uint64_t origin_ns);

/// {name, op, params, schedule, time_us, recorded_time_us, overhead_pct, dropped, tiles: [[sm, cta, item, step,
/// load_issued, load_landed, compute_begun, compute_done], ...]}; times in ns since the first CTA began, rounded. CTAs
/// whose clocks were not written are left out. `dropped`: events beyond the capacity.
[[nodiscard]] Json tiles_of(const RecordedKernel& kernel);

}  // namespace memwall::measure
