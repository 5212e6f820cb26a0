#include "workload/schedule.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "device/reader.h"

namespace memwall::workload {
namespace {

const device::Device& h100() {
    static const device::Device d = device::load_device("h100-sxm5", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    return d;
}

GemmSchedule choose(std::int64_t m, std::int64_t n, std::int64_t k, const ScheduleWish& wish = {}) {
    return choose_gemm({m, n, k}, wish, h100());
}

std::string refusal(const ScheduleWish& wish, std::int64_t m = 4096) {
    try {
        (void)choose(m, 4096, 4096, wish);
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}

ScheduleWish tile(int m, int n, int k, std::optional<int> stages = {}) {
    ScheduleWish wish;
    wish.tile = {m, n, k};
    wish.stages = stages;
    return wish;
}

void expect_in(const std::string& part, const std::string& whole) {
    EXPECT_NE(whole.find(part), std::string::npos) << whole;
}

TEST(ChooseGemm, ALargeProductGetsTheLibrariesSchedule) {
    const GemmSchedule g = choose(8192, 8192, 8192);
    EXPECT_EQ(g.tile, (std::array<int, 3>{128, 256, 64}));
    EXPECT_EQ(g.stages, 4);
    EXPECT_EQ(g.cluster, 2);
    EXPECT_EQ(g.split, 1);
    EXPECT_EQ(g.groups(), 2);
    EXPECT_EQ(g.group_rows(), 64);
    EXPECT_TRUE(g.persistent);
    EXPECT_FALSE(g.skinny);
}

TEST(ChooseGemm, FewRowsGetTilesOfOneWave) {
    // Each of 132 SMs has at most one tile, and no second kernel has partial sums to fold.
    for (const auto& [m, n, k] : {std::array{128, 4096, 4096},
                                  {128, 12288, 4096},
                                  {256, 2048, 4096},
                                  {257, 8192, 8192},
                                  {512, 4096, 4096},
                                  {769, 4096, 4096}}) {
        const GemmSchedule g = choose(m, n, k);
        const int tiles = (m + g.tile[0] - 1) / g.tile[0] * ((n + g.tile[1] - 1) / g.tile[1]);
        EXPECT_LE(tiles, 132) << m << " x " << n << " x " << k;
        EXPECT_GE(tiles, 64) << m << " x " << n << " x " << k;
        EXPECT_EQ(g.split, 1) << m << " x " << n << " x " << k;
    }
    // With k long enough for it, a few tiles are split all the same.
    EXPECT_GT(choose(128, 512, 16384).split, 1);
}

TEST(ChooseGemm, DecodeStreamsWeights) {
    const GemmSchedule one = choose(1, 12288, 4096);
    EXPECT_TRUE(one.skinny && !one.fma);
    EXPECT_EQ(one.tile[0], 8);  // the n of the narrowest wgmma
    EXPECT_EQ(one.tile[1], 64);
    EXPECT_EQ(one.split, 1);
    // Weight rows that no wgmma has are for plain FMAs, which need no padding.
    const GemmSchedule fma = choose(1, 12288, 4096, tile(1, 16, 1024));
    EXPECT_TRUE(fma.skinny && fma.fma);
    EXPECT_EQ(fma.tile[0], 1);
    const GemmSchedule many = choose(33, 12288, 4096);
    EXPECT_TRUE(many.skinny);
    EXPECT_FALSE(many.fma);
    EXPECT_EQ(many.tile[0], 40);
    EXPECT_EQ(many.tile[1], 64);
    EXPECT_FALSE(choose(65, 12288, 4096).skinny);
}

// cuBLAS multiplies 6 x 4096 x 10944 as nvjet_tst_64x8_64x16_2x1_v_bz_splitK_NNT, grid 2 x 64.
TEST(ChooseGemm, SixteenRowsSplitUntilTheTilesFillTheChip) {
    const GemmSchedule published = choose(6, 4096, 10944);
    EXPECT_EQ(published.tile[1], 64);
    EXPECT_EQ(published.split, 2);
    EXPECT_EQ(choose(16, 2048, 4096).split, 4);
    EXPECT_EQ(choose(16, 8192, 8192).split, 1);  // 128 tiles: one for each SM but four
    EXPECT_EQ(choose(17, 4096, 10944).split, 1);
    EXPECT_EQ(choose(1, 64, 512).split, 2);  // 512 bytes of a weight row are left to each
}

// 1025 tokens are nine tiles of 128 rows, but six of 176 columns, which with 22 of 192 weight rows are one for each SM.
TEST(ChooseGemm, ATokenMoreThanTheTilesHoldGoesToTheColumns) {
    const GemmSchedule more = choose(1025, 4096, 4096);
    EXPECT_TRUE(more.swapped);
    EXPECT_EQ(more.tile, (std::array<int, 3>{176, 192, 64}));
    EXPECT_EQ(more.groups(), 3);
    EXPECT_EQ(more.group_rows(), 64);
    EXPECT_EQ(more.accumulators(), 88);
    EXPECT_FALSE(choose(1024, 4096, 4096).swapped);
    EXPECT_FALSE(choose(8192, 8192, 8192).swapped);
    // By hand as well, and what a wgmma cannot have is refused for either side.
    EXPECT_TRUE(choose(300, 4096, 4096, tile(40, 256, 64)).swapped);
    expect_in("n of 320", refusal(tile(40, 320, 64)));
    expect_in("m of 264", refusal(tile(264, 128, 64)));
    expect_in("m of 100", refusal(tile(100, 100, 64)));
}

// 512 x 22016: four waves of 88 tokens by 256 weight rows are 4 x 704 cycles of the tensor cores a step, three of
// 128x256 are 3 x 1024. But operands and the next stage take the port of shared memory for 952 and 1024: simulated, the
// second is a sixth faster.
TEST(ChooseGemm, CountsThePortOfSharedMemory) {
    EXPECT_EQ(choose(512, 22016, 4096).tile, (std::array<int, 3>{128, 256, 64}));
    EXPECT_EQ(choose(1024, 4096, 4096).tile, (std::array<int, 3>{128, 256, 64}));
}

TEST(ChooseGemm, EverySmHasEnoughOnItsWay) {
    // Little: 3.24 TB/s for some 700 ns is 17 KB an SM; the schedule holds at least 32 KiB.
    for (std::int64_t m = 1; m <= 64; ++m) {
        const GemmSchedule g = choose(m, 4096, 4096);
        const std::int64_t weights = static_cast<std::int64_t>(g.tile[1]) * g.tile[2] * 2;
        EXPECT_GE(weights * g.stages, 32 << 10) << m;
        EXPECT_GE(g.stages, 3) << m;
    }
}

// Pieces of 1 KiB of a weight row cost the simulator less than those of 512 bytes. They are taken only where every
// split keeps its share of k, and where three stages fit.
TEST(ChooseGemm, ReadsLongPiecesWhereTheWorkStaysTheSame) {
    const auto k_of = [](std::int64_t m, std::int64_t n, std::int64_t k) { return choose(m, n, k).tile[2]; };
    EXPECT_EQ(k_of(1, 4096, 4096), 512);  // two splits of 2048
    EXPECT_EQ(choose(1, 4096, 4096).split, 2);
    EXPECT_EQ(choose(1, 4096, 4096).stages, 3);
    EXPECT_EQ(k_of(8, 22016, 4096), 512);
    EXPECT_EQ(k_of(9, 22016, 4096), 256);  // 80 KiB a stage
    EXPECT_EQ(k_of(1, 2048, 4096), 256);   // four splits of 1024: two steps are not enough to hide the first
    EXPECT_EQ(k_of(1, 22016, 2304), 256);  // nine steps of 256 are not five of 512
    EXPECT_EQ(choose(1, 22016, 4096, tile(8, 64, 256)).tile[2], 256);
    ScheduleWish deep;
    deep.stages = 5;
    EXPECT_EQ(choose(1, 22016, 4096, deep).tile[2], 256);
}

TEST(ChooseGemm, NoShapeIsRefusedAndEverySplitHasWork) {
    for (const std::int64_t m : {1, 8, 9, 64, 65, 100, 128, 300, 1024, 5000}) {
        for (const std::int64_t n : {16, 1000, 4096, 22016}) {
            for (const std::int64_t k : {64, 100, 4096, 11008}) {
                const GemmSchedule g = choose(m, n, k);
                const std::int64_t steps = (k + g.tile[2] - 1) / g.tile[2];
                const std::int64_t share = (steps + g.split - 1) / g.split;
                EXPECT_GT(steps, share * (g.split - 1)) << m << "x" << n << "x" << k;
                EXPECT_LE(g.smem_bytes(), h100().sm.smem_per_cta_max_bytes);
            }
        }
    }
}

TEST(ChooseGemm, SplitsOnlyWhenSmsWouldBeIdle) {
    EXPECT_GT(choose(128, 512, 8192).split, 1);
    EXPECT_EQ(choose(4096, 4096, 4096).split, 1);
    EXPECT_GT(choose(64, 1024, 8192).split, 1);
}

TEST(ChooseGemm, WishesAreKept) {
    ScheduleWish wish = tile(128, 128, 64, 3);
    wish.cluster = 1;
    wish.split = 2;
    wish.persistent = false;
    const GemmSchedule g = choose(4096, 4096, 4096, wish);
    EXPECT_EQ(g.tile, *wish.tile);
    EXPECT_EQ(g.stages, 3);
    EXPECT_EQ(g.split, 2);
    EXPECT_EQ(g.cluster, 1);
    EXPECT_FALSE(g.persistent);
}

TEST(ChooseGemm, StoresFromAccumulatorsKeepNoSharedMemoryAndTakeWhatTheyCan) {
    ScheduleWish wish;
    wish.store = StoreBy::vector;
    EXPECT_EQ(choose(4096, 4096, 4096, wish).epilogue_bytes, 0);
    EXPECT_GT(choose(4096, 4096, 4096).epilogue_bytes, 0);
    // Alone, the first would be split and the second have tokens on the columns.
    EXPECT_GT(choose(512, 512, 8192).split, 1);
    EXPECT_EQ(choose(512, 512, 8192, wish).split, 1);
    EXPECT_TRUE(choose(257, 8192, 8192).swapped);
    EXPECT_FALSE(choose(257, 8192, 8192, wish).swapped);
    wish.split = 2;
    expect_in("vector or scalar; allowed: tma where k is split", refusal(wish));
    wish.split.reset();
    expect_in("vector or scalar; allowed: tma", refusal(wish, 16));
    EXPECT_THROW((void)parse_store("direct", "store"), InputError);
}

TEST(ChooseGemm, RefusesWithTheArithmetic) {
    expect_in(
        "49152 bytes per stage (128x64 bf16 + 256x64 bf16) x 6 stages + 16384 bytes for the epilogue = 311296 bytes",
        refusal(tile(128, 256, 64, 6)));
    expect_in("at most 232448 bytes per CTA (sm.smem_per_cta_max_bytes): 4 stages", refusal(tile(128, 256, 64, 6)));
    expect_in("256x256 fp32 accumulators over 2 warpgroups = 256 registers", refusal(tile(256, 256, 64, 2)));
    expect_in("m of 100", refusal(tile(100, 128, 64)));
    expect_in("n of 12", refusal(tile(128, 12, 64)));
    expect_in("k of 40; allowed: a multiple of 16", refusal(tile(128, 128, 40)));
    expect_in("0 stages", refusal(tile(128, 128, 64, 0)));
    ScheduleWish cluster;
    cluster.cluster = 3;
    expect_in("cluster: found 3; allowed: 1, 2, 4 or 8", refusal(cluster));
}

TEST(ResidentCtas, CountsWholeClustersInAGpc) {
    EXPECT_EQ(resident_ctas(h100(), 1), h100().sms());
    int fours = 0;
    for (const int sms : h100().floorplan.sms_per_gpc) fours += sms / 4 * 4;
    EXPECT_EQ(resident_ctas(h100(), 4), fours);
}

}  // namespace
}  // namespace memwall::workload
