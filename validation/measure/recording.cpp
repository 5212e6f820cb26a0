#include "recording.h"

#include <algorithm>
#include <cmath>

namespace memwall::measure {

namespace {

/// Start of the earliest CTA; 0 when there is none.
std::uint64_t origin_of(const std::vector<kernels::ClockPair>& clocks) {
    std::uint64_t origin = 0;
    for (const kernels::ClockPair& c : clocks) {
        if (c.begin_ns != 0 && (origin == 0 || c.begin_ns < origin)) origin = c.begin_ns;
    }
    return origin;
}

}  // namespace

double nanoseconds(const kernels::ClockPair& c, std::uint64_t cycles, std::uint64_t origin_ns) {
    const auto span_cycles = static_cast<double>(c.end_cycles - c.begin_cycles);
    const auto span_ns = static_cast<double>(c.end_ns - c.begin_ns);
    const auto since = static_cast<double>(static_cast<std::int64_t>(cycles - c.begin_cycles));
    const double within = span_cycles > 0 ? since / span_cycles * span_ns : 0;
    return static_cast<double>(c.begin_ns - origin_ns) + within;
}

Json tiles_of(const RecordedKernel& k) {
    const std::uint64_t origin = origin_of(k.clocks);
    Json tiles = Json::array();
    std::uint64_t dropped = 0;
    for (std::size_t cta = 0; cta < k.clocks.size(); ++cta) {
        const kernels::ClockPair& clocks = k.clocks[cta];
        if (clocks.end_ns <= clocks.begin_ns) continue;
        const std::uint32_t kept = std::min(k.counts[cta], k.capacity);
        dropped += k.counts[cta] - kept;
        for (std::uint32_t i = 0; i < kept; ++i) {
            const kernels::TileEvent& e = k.events[cta * k.capacity + i];
            Json row = {e.sm, e.cta, e.item, e.step};
            for (const std::uint64_t at : {e.load_issued, e.load_landed, e.compute_begun, e.compute_done}) {
                row.push_back(std::llround(nanoseconds(clocks, at, origin)));
            }
            tiles.push_back(row);
        }
    }
    const double overhead = k.time_us > 0 ? 100 * (k.recorded_time_us - k.time_us) / k.time_us : 0;
    return {{"name", k.name},
            {"op", k.what.op},
            {"params", k.what.params},
            {"schedule", k.what.schedule},
            {"time_us", k.time_us},
            {"recorded_time_us", k.recorded_time_us},
            {"overhead_pct", overhead},
            {"dropped", dropped},
            {"tiles", tiles}};
}

}  // namespace memwall::measure
