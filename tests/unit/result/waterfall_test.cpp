// Each loss lands once, under its cause, and the entries add up to the simulated time.
#include "result/waterfall.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/result/synthetic.h"

namespace memwall::result {
namespace {

double loss(const RunResult& result, const std::string& cause) {
    double us = 0;
    for (const Loss& entry : result.waterfall) us += entry.cause == cause ? entry.us : 0;
    return us;
}

double sum(const RunResult& result) {
    double us = 0;
    for (const Loss& entry : result.waterfall) us += entry.us;
    return us;
}

void expect_adds_up(const RunResult& result) {
    EXPECT_NEAR(sum(result), result.time_us, 1e-6 * result.time_us);
    for (const Loss& entry : result.waterfall) {
        if (entry.cause == "unattributed") continue;
        EXPECT_GE(entry.us, 0) << entry.cause;
    }
    EXPECT_NEAR(loss(result, "unattributed"), 0, 1e-6);
}

TEST(Waterfall, StartsWithTheLargerRoofline) {
    Script memory;
    memory.kernel(kernel_info("a", 8, 2), {{{0}, {1}, {10, 8, 0, 0, 0, 2}, {1}}});
    const RunResult of_memory = analyse(memory.run, memory.seen);
    EXPECT_EQ(of_memory.waterfall.front().cause, "bytes at peak bandwidth");
    EXPECT_NEAR(of_memory.waterfall.front().us, 8, 1e-9);

    Script compute;
    compute.kernel(kernel_info("a", 2, 8), {{{0}, {1}, {10, 2, 0, 0, 0, 8}, {1}}});
    const RunResult of_compute = analyse(compute.run, compute.seen);
    EXPECT_EQ(of_compute.waterfall.front().cause, "FLOPs at peak rate");
    EXPECT_NEAR(of_compute.waterfall.front().us, 8, 1e-9);
}

TEST(Waterfall, PutsEachMemoryLossUnderItsCause) {
    Script s;
    s.kernel(kernel_info("a", 10), {{{0}, {1}, {12, 10, 0.5, 0.25, 0.125}, {2}}});
    s.kernel(kernel_info("b", 10), {{{3}, {1}, {12, 10, 0.5, 0.25, 0.125}, {2}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(r.time_us, 33, 1e-9);
    EXPECT_NEAR(loss(r, "bytes at peak bandwidth"), 20, 1e-9);
    EXPECT_NEAR(loss(r, "bank conflicts and activates"), 1, 1e-9);
    EXPECT_NEAR(loss(r, "refresh"), 0.5, 1e-9);
    EXPECT_NEAR(loss(r, "read-write turnaround"), 0.25, 1e-9);
    EXPECT_NEAR(loss(r, "launch gaps"), 3, 1e-9);
    EXPECT_NEAR(loss(r, "ramp-up"), 2, 1e-9);
    EXPECT_NEAR(loss(r, "tail and load imbalance"), 4, 1e-9);
    EXPECT_NEAR(loss(r, "extra traffic"), 0, 1e-9);
    EXPECT_NEAR(r.refresh_fraction, 0.5 / 33, 1e-9);
}

TEST(Waterfall, GivesATailThatLookUpsBindToThem) {
    for (const auto& [flops_us, bytes_us] : {std::pair{8.0, 2.0}, std::pair{2.0, 8.0}}) {
        const auto tail_of = [&](double lookups_us) {
            Script s;
            s.kernel(kernel_info("a", bytes_us, flops_us),
                     {{{0}, {1}, {10, bytes_us, 0, 0, 0, flops_us, 0, 1}, {4, 0, 0, 0, 0, 0, 0, 0, {}, lookups_us}}});
            return analyse(s.run, s.seen);
        };
        const RunResult bound = tail_of(3), now_and_then = tail_of(2);
        expect_adds_up(bound);
        EXPECT_NEAR(loss(bound, "tail: L2 look-ups"), 3, 1e-9);
        EXPECT_NEAR(loss(bound, "tail and load imbalance"), 1, 1e-9);
        EXPECT_NEAR(bound.l2_lookup_busy, 3.0 / 15, 1e-9);
        expect_adds_up(now_and_then);
        EXPECT_NEAR(loss(now_and_then, "tail: L2 look-ups"), 0, 1e-9);
        EXPECT_NEAR(loss(now_and_then, "tail and load imbalance"), 4, 1e-9);
    }
}

TEST(Waterfall, CountsBytesBeyondTheCompulsoryOnesAsExtraTraffic) {
    Script s;
    s.kernel(kernel_info("a", 6), {{{0}, {1}, {10, 10}, {1}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(loss(r, "bytes at peak bandwidth"), 6, 1e-9);
    EXPECT_NEAR(loss(r, "extra traffic"), 4, 1e-9);
}

TEST(Waterfall, TakesTheActualBytesWhereSomeOfTheInputLayInL2) {
    Script s;
    s.kernel(kernel_info("a", 50), {{{0}, {1}, {10, 9}, {1}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(r.roofline_memory_us, 9, 1e-9);
}

TEST(Waterfall, SplitsTheSteadyPhaseIntoComputeAndLatencyByWhereLoadsWere) {
    Script s;
    TileLifetime life;
    life.hbm = 1;
    life.far_link = 3;
    // 4 us idle; SMs compute for 3 and wait for 1: three quarters of the idle time is compute.
    s.kernel(kernel_info("a", 6), {{{0}, {0}, {10, 6, 0, 0, 0, 3, 0, 1, life}, {0}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(loss(r, "exposed compute"), 3, 1e-9);
    EXPECT_NEAR(loss(r, "exposed latency: memory"), 0.25, 1e-9);
    EXPECT_NEAR(loss(r, "exposed latency: far partition"), 0.75, 1e-9);
}

TEST(Waterfall, PutsEachComputeLossUnderItsCause) {
    Script s;
    // 10 us of useful FLOPs take 11 us of tensor time (edge tiles); vector work and waiting share the steady idle 3:1.
    s.kernel(kernel_info("a", 1, 10), {{{0}, {1}, {15, 1, 0, 0, 0, 11, 3, 1}, {2}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(loss(r, "padding and masked arithmetic"), 1, 1e-9);
    EXPECT_NEAR(loss(r, "ramp-up"), 1, 1e-9);
    EXPECT_NEAR(loss(r, "tail and load imbalance"), 2, 1e-9);
    EXPECT_NEAR(loss(r, "vector work, epilogues and softmax"), 3, 1e-9);
    EXPECT_NEAR(loss(r, "waiting for data, shared memory and barriers"), 1, 1e-9);
}

TEST(Waterfall, GivesStoresTheirShareOfWhatSmsWaitFor) {
    // Of 8 us in which the roofline's resource idles, SMs compute for 1, wait for data for 1 and for stores for 2.
    PhaseScript steady{18, 10, 0, 0, 0, 1, 0, 1};
    steady.stores = 2;
    Script memory;
    memory.kernel(kernel_info("a", 10), {{{0}, {0}, steady, {0}}});
    const RunResult bytes = analyse(memory.run, memory.seen);
    expect_adds_up(bytes);
    EXPECT_NEAR(loss(bytes, "exposed compute"), 2, 1e-9);
    EXPECT_NEAR(loss(bytes, "exposed stores"), 4, 1e-9);
    steady = {18, 1, 0, 0, 0, 10, 1, 1};
    steady.stores = 2;
    Script compute;
    compute.kernel(kernel_info("a", 1, 10), {{{0}, {0}, steady, {0}}});
    const RunResult flops = analyse(compute.run, compute.seen);
    expect_adds_up(flops);
    EXPECT_NEAR(loss(flops, "vector work, epilogues and softmax"), 2, 1e-9);
    EXPECT_NEAR(loss(flops, "waiting for stores to leave"), 4, 1e-9);
    EXPECT_NEAR(loss(flops, "waiting for data, shared memory and barriers"), 2, 1e-9);
}

TEST(Waterfall, AddsUpWhereTheVectorUnitsDoTheArithmetic) {
    Script s;
    s.kernel(kernel_info("a", 1, 10, false), {{{0}, {1}, {15, 1, 0, 0, 0, 0, 12, 1}, {2}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(loss(r, "padding and masked arithmetic"), 2, 1e-9);
}

TEST(Waterfall, AddsUpWhereTheCountersSawLessArithmeticThanTheFlops) {
    Script s;
    s.kernel(kernel_info("a", 1, 10), {{{0}, {1}, {15, 1, 0, 0, 0, 4}, {2}}});
    expect_adds_up(analyse(s.run, s.seen));
}

TEST(Waterfall, CarriesWorkThatWasBookedBeforeItWasDone) {
    Script s;
    s.kernel(kernel_info("a", 1, 10), {{{0}, {1, 0, 0, 0, 0, 3}, {15, 1, 0, 0, 0, 8}, {2}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(loss(r, "ramp-up"), 0, 1e-9);
}

TEST(Waterfall, AKernelThatLoadsNoTileHasNoRampUp) {
    Script s;
    s.kernel(kernel_info("chase", 0), {{{0}, {10}, {0}, {1}}});
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(loss(r, "ramp-up"), 0, 1e-9);
    EXPECT_NEAR(loss(r, "exposed latency"), 10, 1e-9);
}

TEST(Waterfall, ClipsKernelsThatOverlap) {
    Script s;
    s.kernel(kernel_info("a", 8), {{{0}, {1}, {10, 8}, {4}}});
    s.kernel(kernel_info("b", 8), {{{0}, {1}, {10, 8}, {1}}});
    // The second kernel's first CTAs start in the tail of the first: three of its microseconds are not new.
    for (Ps* moment : {&s.seen.kernels[1].ready, &s.seen.kernels[1].first_cta, &s.seen.kernels[1].first_data})
        *moment -= microseconds(3);
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(r.time_us, 27, 1e-9);
}

TEST(Waterfall, AddsUpWhenASteadyLayerStandsForOthers) {
    Script s;
    s.kernel(kernel_info("layers.0.a", 8), {{{0}, {2}, {10, 8}, {1}}});
    s.kernel(kernel_info("layers.1.a", 8), {{{1}, {1}, {9, 8}, {1}}});
    s.kernel(kernel_info("head", 8), {{{1}, {1}, {9, 8}, {1}}});
    s.run.layers.steady_begin = 1;
    s.run.layers.steady_end = 2;
    s.run.layers.steady_times = 5;
    const RunResult r = analyse(s.run, s.seen);
    expect_adds_up(r);
    EXPECT_NEAR(r.time_us, 13 + 5 * 12 + 12, 1e-9);
    EXPECT_NEAR(r.roofline_memory_us, 7 * 8, 1e-9);
    EXPECT_NEAR(loss(r, "launch gaps"), 6, 1e-9);
}

TEST(Waterfall, RefusesWhatDoesNotAddUp) {
    Script s;
    s.kernel(kernel_info("a", 8), {{{0}, {1}, {10, 8}, {1}}});
    s.seen.kernels[0].at[4].hbm.data_ps *= 3;  // channels busier than the time that passed
    EXPECT_THROW(static_cast<void>(analyse(s.run, s.seen)), ModelError);
}

}  // namespace
}  // namespace memwall::result
