// A recording whose statistics are known, and a simulated run laid beside one made of itself.

#include "validate/recording.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace {

namespace fs = std::filesystem;
using namespace memwall;
using namespace memwall::validate;

std::string written(const std::string& tiles, const std::string& unit = "ns") {
    const fs::path path = fs::temp_directory_path() / "memwall-recording.json";
    std::ofstream(path) << R"({"schema": "memwall-trace/1", "recording": {"device": "h200-sxm", "unit": ")" << unit
                        << R"(", "columns": ["sm", "cta", "item", "step", "load_issued", "load_landed", "compute_begun",
                        "compute_done"]}, "kernels": [{"name": "gemm", "op": "gemm",
                        "params": {"m": 256, "n": 256, "k": 128, "dtype": "bf16"},
                        "schedule": {"tile": [128, 256, 64], "stages": 4, "persistent": true},
                        "time_us": 5, "recorded_time_us": 5.5, "tiles": )"
                        << tiles << "}]}";
    return path.string();
}

TEST(Recording, StatisticsAreThoseOfItsTiles) {
    const auto kernels =
        read_recording(written("[[0,0,0,0, 10,110,120,170], [0,0,0,1, 20,320,330,400], [1,1,0,0, 40,240,250,310]]"));
    ASSERT_EQ(kernels.size(), 1U);
    EXPECT_EQ(kernels[0].work.schedule[0].second, "1");           // persistent
    EXPECT_EQ(kernels[0].work.schedule[2].second, "128x256x64");  // tile
    const TileStatistics s = statistics_of(kernels[0].tiles);
    EXPECT_EQ(s.load_latency.n, 3U);
    EXPECT_DOUBLE_EQ(s.load_latency.mean, 200);
    EXPECT_DOUBLE_EQ(s.load_latency.p50, 200);
    EXPECT_DOUBLE_EQ(s.compute_time.p50, 60);
    EXPECT_DOUBLE_EQ(s.first_use.mean, 10);
    EXPECT_EQ(s.start_skew.n, 2U);
    EXPECT_DOUBLE_EQ(s.start_skew.p90, 30);
}

TEST(Recording, RefusesWhatIsNone) {
    EXPECT_THROW(read_recording(written("[[0,0,0]]")), InputError);
    EXPECT_THROW(read_recording(written("[]", "us")), InputError);
}

/// An SM that loads a stage every 100 ns, 500 ns each, and computes 80 ns as soon as it may.
Observations synthetic() {
    Observations seen;
    for (int sm = 0; sm < 2; ++sm) {
        double free = 0;
        for (int i = 0; i < 10; ++i) {
            const double issued = 1000 + 50 * sm + 100 * i, landed = issued + 500, begun = std::max(landed, free);
            free = begun + 80;
            seen.timeline.push_back({sm, TimelineSpan::Track::tma, i % 4, 0, {}, from_ns(issued), from_ns(landed)});
            seen.timeline.push_back({sm, TimelineSpan::Track::tensor, 0, 0, {}, from_ns(begun), from_ns(free)});
            seen.timeline.push_back({sm, TimelineSpan::Track::tensor, 1, 0, {}, from_ns(begun), from_ns(free)});
        }
    }
    return seen;
}

TEST(Recording, ASimulatedRunGivesItsOwnNumbersBack) {
    const auto tiles = simulated_tiles(synthetic());
    ASSERT_EQ(tiles.size(), 20U);
    const TileStatistics s = statistics_of(tiles);
    EXPECT_DOUBLE_EQ(s.load_latency.p10, 500);
    EXPECT_DOUBLE_EQ(s.load_latency.p90, 500);
    EXPECT_DOUBLE_EQ(s.compute_time.mean, 80);
    EXPECT_DOUBLE_EQ(s.first_use.mean, 0);
    EXPECT_DOUBLE_EQ(s.start_skew.p90, 50);
    const auto page = nlohmann::json::parse(tiles_timeline(tiles, tiles, 1));
    int spans = 0;
    for (const auto& event : page["traceEvents"]) spans += event["ph"] == "X" ? 1 : 0;
    EXPECT_EQ(spans, 2 * 2 * 10);  // of one SM: loads and products, recorded and simulated
}

}  // namespace
