// Runs the instrumented kernels and writes their recording.
#pragma once

#include <string>

#include "bench.h"
#include "record.h"

namespace memwall::measure {

/// Writes a memwall-trace/1 recording of two GEMMs, a prefill and a decode attention to `path`, with the time of each
/// kernel with and without its recorder. Throws std::runtime_error when the program was built without the recorder
/// (CMake option MEMWALL_RECORD_TILES) or the file cannot be written.
void record_tiles(const std::string& path, const Setting& setting, Bench& bench);

}  // namespace memwall::measure
