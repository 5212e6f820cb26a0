// Figures of a run: rooflines, limits, bounds, the tile's life.
#include "result/run.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/result/synthetic.h"

namespace memwall::result {
namespace {

/// The bound of a kernel of 10 us that used these counters and waited `gap_us` for its launch.
std::string bound(const Counters& used, double gap_us = 0) {
    Script s;
    s.kernel(kernel_info("before", 0), {{{0}, {1}, {1}, {1}}});
    s.kernel(kernel_info("a", 0), {{{gap_us}, {1}, {8}, {1}}});
    for (std::size_t i = 2; i < 5; ++i) s.seen.kernels[1].at[i] += used;
    // The waterfall of counters that make no whole is not the question here: keep what it looks at consistent.
    return analyse(s.run, s.seen).ops.back().bound;
}

TEST(Run, NamesTheBusiestResource) {
    constexpr double kSmPs = 1e6 * kSms;
    Counters used;
    used.tensor_busy_ps = 8 * kSmPs;
    EXPECT_EQ(bound(used), "tensor");
    used = {};
    used.vector_busy_ps = 7.5 * kSmPs;
    EXPECT_EQ(bound(used), "vector");
    used = {};
    used.sfu_busy_ps = 9 * kSmPs;
    EXPECT_EQ(bound(used), "sfu");
    used = {};
    used.smem_busy_ps = 9 * kSmPs;
    EXPECT_EQ(bound(used), "smem");
    used = {};
    used.l2_read_bytes = 45'000'000;  // of 5000 GB/s in 10 us: 90 %
    EXPECT_EQ(bound(used), "l2");
    used = {};
    used.l2_lookup_busy_ps = 9 * 1e6 * kSlices;  // few bytes, many accesses
    EXPECT_EQ(bound(used), "l2");
    used = {};
    used.sm_read_bytes = 36'000'000;  // of 4000 GB/s: 90 %
    EXPECT_EQ(bound(used), "crossbar");
    used.multicast_bytes = 20'000'000;  // copies inside a cluster do not pass the port twice
    EXPECT_EQ(bound(used), "latency");
}

TEST(Run, MemoryBindsWhenItsChannelsAreBusyWithWhateverTheyDo) {
    Script s;
    s.kernel(kernel_info("a", 5), {{{0}, {0}, {10, 5, 2, 1}, {0}}});
    const RunResult r = analyse(s.run, s.seen);
    EXPECT_EQ(r.ops[0].bound, "hbm");
    EXPECT_NEAR(r.ops[0].dram_gbps, 500, 1e-6);
    EXPECT_NEAR(r.ops[0].fraction_of_peak, 0.5, 1e-9);
}

TEST(Run, NothingBusyIsLatencyOrTheLaunch) {
    EXPECT_EQ(bound({}), "latency");
    EXPECT_EQ(bound({}, 11), "launch");
}

TEST(Run, LifetimeAddsUpToOne) {
    Script s;
    TileLifetime life;
    life.hbm = 4;
    life.interposer = 1;
    life.l2 = 1;
    life.far_link = 1;
    life.crossbar = 1;
    life.smem_wait = 1;
    life.compute = 1;
    s.kernel(kernel_info("a", 5), {{{0}, {0}, {10, 5, 0, 0, 0, 0, 0, 0, life}, {0}}});
    const Lifetime l = analyse(s.run, s.seen).lifetime;
    EXPECT_NEAR(l.hbm + l.interposer + l.l2 + l.crossbar + l.smem_wait + l.compute, 1, 1e-12);
    EXPECT_NEAR(l.hbm, 0.4, 1e-12);
    EXPECT_NEAR(l.l2, 0.2, 1e-12);  // the way to the far partition is L2's
}

TEST(Run, DoesNotCountWarmUp) {
    Script s;
    s.kernel(kernel_info("warm", 5), {{{0}, {1}, {10, 5}, {1}}});
    s.kernel(kernel_info("a", 5), {{{2}, {1}, {10, 5}, {1}}});
    s.run.first_counted = 1;
    const RunResult r = analyse(s.run, s.seen);
    EXPECT_NEAR(r.time_us, 12, 1e-9);
    EXPECT_EQ(r.ops.size(), 1U);
    EXPECT_NEAR(r.roofline_memory_us, 5, 1e-9);
}

TEST(Run, RefusesWhatBeatsTheRoofline) {
    Script flops;
    flops.kernel(kernel_info("a", 0, 20), {{{0}, {1}, {10, 0, 0, 0, 0, 10}, {1}}});
    EXPECT_THROW(static_cast<void>(analyse(flops.run, flops.seen)), ModelError);
    Script bytes;
    bytes.kernel(kernel_info("a", 5), {{{0}, {1}, {10, 9}, {1}}});
    bytes.seen.kernels[0].at[4].dram_read_bytes = 40'000'000;  // 40 us at peak
    EXPECT_THROW(static_cast<void>(analyse(bytes.run, bytes.seen)), ModelError);
}

TEST(Run, AnEmptyRunIsAnErrorAndNoCrash) {
    const Script s;
    EXPECT_THROW(static_cast<void>(analyse(s.run, s.seen)), ModelError);
}

}  // namespace
}  // namespace memwall::result
