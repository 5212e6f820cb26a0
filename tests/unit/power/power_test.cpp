// Energy by event, and the clock that a limit allows.

#include "chip/power/power.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cli/verbs.h"
#include "device/reader.h"

namespace {

using namespace memwall;

device::Device h200() {
    return device::load_device("h200-sxm", cli::find_configs().devices, {});
}

TEST(Energy, AStreamDrawsWhatTheRooflineRunsOfH200Drew) {
    // RRZE gpu-roofline, H200 at 1980 MHz: 572 W at 3,759 GB/s and 0.25 FLOP per byte. Half of the bytes cross the link
    // between the halves.
    const device::Device d = h200();
    Counters c;
    c.dram_read_bytes = c.l2_read_bytes = c.smem_bytes = 3'759'000'000;  // of a millisecond
    c.link_bytes = c.dram_read_bytes / 2;
    c.vector_busy_ps = 0.25 * 3.759e9 / 2 / 128 / 1.98e9 * 1e12;  // fused multiply-adds on 128 lanes
    const chip::Energy e = chip::energy_of(d, c, {}, 1000);
    EXPECT_NEAR(e.total() / 1e-3, 572, 0.05 * 572);
}

TEST(Energy, IsTheSumOfItsPartsAndGrowsWithTheVoltage) {
    device::Device d = h200();
    Counters c;
    c.l2_read_bytes = 1'000'000;
    const chip::TensorWork work{1e9, 0, 0, 0};
    const chip::Energy fast = chip::energy_of(d, c, work, 10);
    EXPECT_NEAR(fast.tensor, 1e9 * d.power.tensor_pj_per_flop_bf16 * 1e-12, 1e-12);
    EXPECT_NEAR(fast.idle, d.power.idle_w * 10e-6, 1e-12);
    d.clocks.sm_mhz = d.power.reference_mhz / 2;
    const chip::Energy slow = chip::energy_of(d, c, work, 10);
    EXPECT_NEAR(slow.die() / fast.die(), 0.25, 1e-9);  // half the voltage, a quarter of the energy
    EXPECT_EQ(slow.hbm, fast.hbm);
}

TEST(Energy, OfAProductFollowsItsMultipliers) {
    // Mantissas of 11, 8 and 4 bits: 1.1 pJ and 0.9 pJ of an FP16 multiplication and the addition behind it (Horowitz,
    // ISSCC 2014), the first by the square of the bits.
    const auto of = [](double bits) { return 1.1 * bits * bits / 121 + 0.9; };
    for (const char* name : {"h100-sxm5", "h100-pcie"}) {
        const auto& p = device::load_device(name, cli::find_configs().devices, {}).power;
        EXPECT_NEAR(p.tensor_pj_per_flop_fp16 / p.tensor_pj_per_flop_bf16, of(11) / of(8), 0.02) << name;
        EXPECT_NEAR(p.tensor_pj_per_flop_8bit / p.tensor_pj_per_flop_bf16, of(4) / of(8), 0.02) << name;
    }
}

TEST(Energy, ExponentialsCostTheirOwn) {
    const device::Device d = h200();
    Counters c;
    c.sfu_busy_ps = 1e6;  // a microsecond of one SM's unit
    const chip::Energy e = chip::energy_of(d, c, {}, 1);
    EXPECT_NEAR(e.vector, 1.0 * d.clocks.sm_mhz * d.sm.sfu_ops_per_cycle * d.power.sfu_pj_per_op * 1e-12, 1e-15);
}

/// Work of a millisecond at 1980 MHz whose die draws so many watts; all of it stretches with the clock's period.
chip::WorkAtClocks of_watts(double die_w, double us = 1000) {
    chip::WorkAtClocks work;
    work.energy.tensor = die_w * us * 1e-6;
    work.elapsed_us = us;
    return work;
}

TEST(ClockUnderALimit, KeepsTheBoardUnderItAndNotFarUnder) {
    const device::Device d = h200();
    for (const double limit : {700.0, 550.0, 400.0}) {
        const double mhz = chip::clock_under(d, of_watts(900), limit, d.clocks.sm_mhz);
        const auto watts = [&](double clock) {  // the energy goes with V^2, the time with the period
            const double ratio = clock / d.clocks.sm_mhz;
            return d.power.idle_w + 900 * ratio * ratio * ratio;
        };
        EXPECT_LE(watts(mhz), limit);
        EXPECT_GT(watts(mhz + d.power.clock_step_mhz), limit);
        EXPECT_DOUBLE_EQ(std::fmod(mhz, d.power.clock_step_mhz), 0);
    }
}

TEST(ClockUnderALimit, IsTheHighestForWorkThatDrawsLess) {
    const device::Device d = h200();
    EXPECT_EQ(chip::clock_under(d, of_watts(500), 700, d.clocks.sm_mhz), d.clocks.sm_mhz);
    // What memory bounds does not get longer, so that its power falls with the square of the voltage alone.
    chip::WorkAtClocks streamed = of_watts(900);
    streamed.fixed_us = streamed.elapsed_us;
    EXPECT_DOUBLE_EQ(streamed.us_at(d, 990), 1000);
    EXPECT_NEAR(streamed.watts_at(d, 990), d.power.idle_w + 900 / 4.0, 1e-9);
}

// A board that had rested holds the clock of its peak limit until what a filter of the time constant tau lets through
// of its power is at the other limit: idle + P (1 - exp(-t / tau)) = limit, with P over idle.
TEST(ClockOfRepeatedWork, FallsWhenTheAverageReachesTheLimit) {
    device::Device d = h200();
    d.power.peak_limit_w = 900;
    d.power.limit_time_constant_ms = 30;
    const chip::WorkAtClocks work = of_watts(1200);
    const auto mhz = [&](double warmups, double repeats) {
        return chip::clock_of(d, work, work, {warmups, repeats}, d.clocks.sm_mhz);
    };
    const double early = chip::clock_under(d, work, 900, 1980), late = chip::clock_under(d, work, 700, 1980);
    ASSERT_LT(late, early - 100);
    const double idle_w = d.power.idle_w, over_idle_w = work.watts_at(d, early) - idle_w;
    const double until_ms = 30 * std::log(over_idle_w / (over_idle_w - (700 - idle_w)));
    const double operations = until_ms * 1e3 / work.us_at(d, early);
    EXPECT_EQ(mhz(0, 1), early);
    EXPECT_EQ(mhz(operations / 2, 0.49 * operations), early);
    EXPECT_EQ(mhz(1.01 * operations, 1), late);
    EXPECT_EQ(chip::clock_of(d, work, work, Repetition::forever(), 1980), late);
    // Half of the timed ones before, half after: the mean of their times, which go with the period.
    EXPECT_NEAR(work.us_at(d, mhz(operations / 2, operations)), (work.us_at(d, early) + work.us_at(d, late)) / 2, 1e-6);
    // As long, but told in milliseconds.
    Repetition timed;
    timed.warmup_ms = until_ms / 2;
    timed.timed_ms = until_ms;
    EXPECT_NEAR(chip::clock_of(d, work, work, timed, 1980), mhz(operations / 2, operations), 1e-6);
}

TEST(ClockOfRepeatedWork, ThePeakLimitIsOfTheMainKernel) {
    const device::Device d = h200();
    // A product of 1500 W for a fifth of the time, small kernels for the rest: 300 W on average.
    const auto work = of_watts(300), product = of_watts(1500, 200);
    const double held = chip::clock_of(d, work, product, Repetition::forever(), 1830);
    EXPECT_EQ(held, chip::clock_under(d, product, d.power.peak_limit_w, 1830));
    EXPECT_LT(held, 1830);
}

TEST(ClockOfRepeatedWork, IsThatOfThePeakLimitForWorkUnderTheOther) {
    device::Device d = h200();
    EXPECT_EQ(chip::clock_of(d, of_watts(500), of_watts(500), Repetition::forever(), 1830), 1830);
    d.power.board_limit_w = 2000;  // a what-if beyond the peak limit: that one gives way
    EXPECT_EQ(chip::clock_of(d, of_watts(1500), of_watts(1500), Repetition::forever(), 1830), 1830);
}

TEST(HighestClock, IsTheTensorBoostForWorkThatTensorCoresBound) {
    device::Device d = h200();
    const chip::TensorWork work = {989.4e9, 0, 0, 0};
    EXPECT_EQ(chip::highest_mhz(d, work, 100), 1830);
    EXPECT_EQ(chip::highest_mhz(d, work, 2000), 1980);
    d.clocks.sm_mhz = 1500;  // locked below it
    EXPECT_EQ(chip::highest_mhz(d, work, 100), 1500);
    // 990 GFLOP take a millisecond at 1830 MHz, less at 1980.
    d.clocks.sm_mhz = 1830;
    EXPECT_NEAR(chip::tensor_us(d, work), 1000, 1);
    EXPECT_NEAR(chip::tensor_us(d, {0, 0, 989.4e9, 0}), 500, 1);
}

TEST(LikelyClock, IsLowForProductsAndHighestForStreams) {
    const device::Device d = h200();
    const double once = chip::likely_mhz(d, {1e12, 0, 0, 0}, 100, {});
    EXPECT_LT(once, 1830);
    EXPECT_LT(chip::likely_mhz(d, {1e12, 0, 0, 0}, 100, Repetition::forever()), once);
    EXPECT_EQ(chip::likely_mhz(d, {1e12, 0, 0, 0}, 1e5, {}), d.clocks.sm_mhz);
    EXPECT_EQ(chip::likely_mhz(d, {}, 1, {}), d.clocks.sm_mhz);
}

}  // namespace
