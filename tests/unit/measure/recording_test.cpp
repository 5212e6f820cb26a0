// The recording of tiles: an SM's cycles laid on the common time, and events beyond the log's capacity counted.

#include "recording.h"

#include <gtest/gtest.h>

namespace {

using namespace memwall::measure;
using memwall::kernels::ClockPair;
using memwall::kernels::TileEvent;

TEST(Recording, CyclesBecomeTimeAlongTheCtasOwnClock) {
    // 2000 cycles in 1000 ns: 2 GHz. The SM's count started somewhere else entirely.
    const ClockPair clocks{5'000'000, 10'000, 5'002'000, 11'000};
    EXPECT_DOUBLE_EQ(nanoseconds(clocks, 5'000'000, 9'000), 1000);
    EXPECT_DOUBLE_EQ(nanoseconds(clocks, 5'001'000, 9'000), 1500);
    EXPECT_DOUBLE_EQ(nanoseconds(clocks, 5'002'000, 9'000), 2000);
    // A reading just before the CTA's first stamp lies before it, not an age of the universe after.
    EXPECT_DOUBLE_EQ(nanoseconds(clocks, 4'999'900, 9'000), 950);
}

RecordedKernel two_ctas() {
    RecordedKernel k;
    k.name = "k";
    k.what.op = "gemm";
    k.time_us = 100;
    k.recorded_time_us = 103;
    k.capacity = 2;
    k.counts = {3, 1};
    k.clocks = {{0, 1000, 100, 1100}, {7000, 1050, 7100, 1100}};  // 1 GHz; 2 GHz
    k.events = {TileEvent{5, 0, 0, 0, 10, 20, 30, 40}, TileEvent{5, 0, 0, 1, 50, 60, 70, 80},
                TileEvent{6, 1, 1, 0, 7010, 7020, 7030, 7040}, TileEvent{}};
    return k;
}

TEST(Recording, TilesOfAllCtasOnOneTime) {
    const Json json = tiles_of(two_ctas());
    ASSERT_EQ(json["tiles"].size(), 3U);
    EXPECT_EQ(json["tiles"][0], Json::parse("[5, 0, 0, 0, 10, 20, 30, 40]"));
    EXPECT_EQ(json["tiles"][2], Json::parse("[6, 1, 1, 0, 55, 60, 65, 70]"));  // 50 ns later, two cycles a ns
    EXPECT_EQ(json["dropped"], 1);
    EXPECT_DOUBLE_EQ(json["overhead_pct"], 3);
}

TEST(Recording, ACtaThatNeverRanIsLeftOut) {
    RecordedKernel k = two_ctas();
    k.clocks[0] = {};
    const Json json = tiles_of(k);
    ASSERT_EQ(json["tiles"].size(), 1U);
    EXPECT_EQ(json["tiles"][0][4], 5);  // and the origin is the other's start
}

}  // namespace
