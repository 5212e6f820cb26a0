// A kernel's tiles as an instrumented run recorded them, against those of the simulated run: how long loads take, how
// long products take, and how far apart the SMs begin.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/observations.h"
#include "validate/record.h"

namespace memwall::validate {

/// One tile's life, in nanoseconds from the kernel's first event.
struct Tile {
    int sm = 0, cta = 0, item = 0, step = 0;
    double load_issued = 0, load_landed = 0, compute_begun = 0, compute_done = 0;
};

struct RecordedKernel {
    std::string name;
    Record work;  ///< operation, parameters and schedule; its value is the kernel's time without the recorder
    double recorded_time_us = 0;
    std::vector<Tile> tiles;
};

/// Reads a memwall-trace/1 recording (its `recording` and `kernels` members). Throws InputError.
std::vector<RecordedKernel> read_recording(const std::string& path);

/// The same of a simulated run, of the SMs that were watched, told as the recorder tells it: a load has landed when the
/// first consumer's wait for it returns, and its step is done when that consumer gives back the last of its operands.
std::vector<Tile> simulated_tiles(const Observations& seen);

/// Of one quantity, in nanoseconds.
struct Distribution {
    std::size_t n = 0;
    double mean = 0, p10 = 0, p50 = 0, p90 = 0;
};
struct TileStatistics {
    Distribution load_latency;  ///< landed less issued: a load that is early waits for its consumer
    Distribution compute_time;  ///< done less begun
    Distribution start_skew;    ///< an SM's first load less the chip's first
};
TileStatistics statistics_of(const std::vector<Tile>& tiles);

/// Recorded beside simulated: a table for a person.
std::string tiles_markdown(const RecordedKernel& recorded, const TileStatistics& measured,
                           const TileStatistics& simulated, double simulated_us);

/// Chrome trace events for ui.perfetto.dev: SM by SM, the recorded tiles above the simulated ones. At most `sms` SMs.
std::string tiles_timeline(const std::vector<Tile>& recorded, const std::vector<Tile>& simulated, int sms);

}  // namespace memwall::validate
