// A recording whose statistics are known, and a simulated run laid beside one made of itself.

#include "validate/recording.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "chip/chip.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "support/files.h"
#include "workload/workload.h"

namespace {

namespace fs = std::filesystem;
using namespace memwall;
using namespace memwall::validate;

/// Writes a recording of one product and reads it back; nothing is left behind.
auto recorded(const std::string& tiles, const std::string& unit = "ns") {
    const fs::path path = test::temporary("recording.json");
    std::ofstream(path) << R"({"schema": "memwall-trace/1", "recording": {"device": "h200-sxm", "unit": ")" << unit
                        << R"(", "columns": ["sm", "cta", "item", "step", "load_issued", "load_landed", "compute_begun",
                        "compute_done"]}, "kernels": [{"name": "gemm", "op": "gemm",
                        "params": {"m": 256, "n": 256, "k": 128, "dtype": "bf16"},
                        "schedule": {"tile": [128, 256, 64], "stages": 4, "persistent": true},
                        "time_us": 5, "recorded_time_us": 5.5, "tiles": )"
                        << tiles << "}]}";
    const struct Removed {
        const fs::path& path;
        ~Removed() { fs::remove(path); }
    } removed{path};
    return read_recording(path.string());
}

TEST(Recording, StatisticsAreThoseOfItsTiles) {
    const auto kernels = recorded("[[0,0,0,0, 10,110,120,170], [0,0,0,1, 20,320,330,400], [1,1,0,0, 40,240,250,310]]");
    ASSERT_EQ(kernels.size(), 1U);
    EXPECT_EQ(kernels[0].work.schedule[0].second, "1");           // persistent
    EXPECT_EQ(kernels[0].work.schedule[2].second, "128x256x64");  // tile
    const TileStatistics s = statistics_of(kernels[0].tiles);
    EXPECT_EQ(s.load_latency.n, 3U);
    EXPECT_DOUBLE_EQ(s.load_latency.mean, 200);
    EXPECT_DOUBLE_EQ(s.load_latency.p50, 200);
    EXPECT_DOUBLE_EQ(s.compute_time.p50, 60);
    EXPECT_EQ(s.start_skew.n, 2U);
    EXPECT_DOUBLE_EQ(s.start_skew.mean, 15);
}

TEST(Recording, RefusesWhatIsNone) {
    EXPECT_THROW(recorded("[[0,0,0]]"), InputError);
    EXPECT_THROW(recorded("[]", "us"), InputError);
}

/// Two SMs that load a step every 100 ns, 500 ns each, and work 80 ns on it; with `values`, on a second ring 50 ns
/// more.
Observations synthetic(bool values) {
    Observations seen;
    for (int sm = 0; sm < 2; ++sm) {
        for (int i = 0; i < 10; ++i) {
            const double issued = 1000 + 50 * sm + 100 * i, there = issued + 500;
            seen.tiles.push_back(
                {sm, 0, 0, Ps{0}, i, {}, from_ns(issued), from_ns(there), from_ns(there), from_ns(there + 80)});
            if (values)
                seen.tiles.push_back({sm,
                                      0,
                                      1,
                                      Ps{0},
                                      i,
                                      {},
                                      from_ns(issued),
                                      from_ns(there),
                                      from_ns(there + 80),
                                      from_ns(there + 130)});
            // What is held for the whole item is no step's.
            if (i == 0) seen.tiles.push_back({sm, 0, 2, Ps{0}, 0, {}, Ps{0}, Ps{0}, Ps{0}, from_ns(9000)});
        }
    }
    return seen;
}

TEST(Recording, ASimulatedRunGivesItsOwnNumbersBack) {
    for (const bool values : {false, true}) {
        const auto tiles = simulated_tiles(synthetic(values));
        ASSERT_EQ(tiles.size(), 20U);
        const TileStatistics s = statistics_of(tiles);
        EXPECT_DOUBLE_EQ(s.load_latency.p10, 500);
        EXPECT_DOUBLE_EQ(s.load_latency.p90, 500);
        EXPECT_DOUBLE_EQ(s.compute_time.mean, values ? 130 : 80);
        EXPECT_DOUBLE_EQ(s.start_skew.mean, 25);
    }
    const auto tiles = simulated_tiles(synthetic(false));
    const auto page = nlohmann::json::parse(tiles_timeline(tiles, tiles, 1));
    int spans = 0;
    for (const auto& event : page["traceEvents"]) spans += event["ph"] == "X" ? 1 : 0;
    EXPECT_EQ(spans, 2 * 2 * 10);  // of one SM: loads and products, recorded and simulated
}

/// A product whose steps are known: k over the tile's, on every CTA, each with its 128 x 256 x 64 of arithmetic.
TEST(Recording, OfAProductHasEveryStepOnce) {
    const auto configs = cli::find_configs();
    const auto device = device::load_device("h200-sxm", configs.devices, {});
    workload::ScheduleWish wish;
    wish.tile = std::array{128, 256, 64};
    wish.stages = 4;
    const auto trace =
        workload::build_trace(workload::parse_op("gemm m=1024 n=1024 k=1024 dtype=bf16"), wish, device, configs.roots);
    chip::RunOptions options;
    options.timeline = true;
    for (int sm = 0; sm < device.sms(); ++sm) options.timeline_sms.push_back(sm);
    const auto tiles = simulated_tiles(chip::simulate(device, trace, options));
    EXPECT_EQ(tiles.size(), 8U * 4 * 16);
    const TileStatistics s = statistics_of(tiles);
    // Both warpgroups' 64 x 256 x 64: 512 cycles each at 4096 FLOP a cycle; the first to be done has at least its own.
    EXPECT_GE(s.compute_time.p10, 512 / 1.98 * 0.99);
    EXPECT_LE(s.compute_time.p50, 2 * 1100 / 1.98);
    EXPECT_GE(s.load_latency.p10, 280 / 1.98);  // no load is faster than an L2 hit
}

}  // namespace
