// A timeline that ui.perfetto.dev opens (Chrome trace events): kernels and launch gaps as one process, each watched SM
// as another with threads for its CTA slots, TMA, tensor cores, vector units and waits.
//
// Spans of one thread never overlap: what happens twice at once, in two CTAs of an SM say, gets another row. The events
// are written one by one, under another name until the last is there.
#pragma once

#include <filesystem>

#include "result/run.h"

namespace memwall::result {

/// Throws HostError when the file cannot be written; nothing is then left of it.
void write_timeline(const std::filesystem::path& path, const RunDescription& run, const Observations& seen);

}  // namespace memwall::result
