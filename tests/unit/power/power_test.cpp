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

TEST(SustainedClock, KeepsTheBoardUnderItsLimitAndNotFarUnder) {
    const device::Device d = h200();
    chip::Energy e;
    e.tensor = 0.9;  // of a millisecond: 900 W
    const double mhz = chip::sustained_mhz(d, e, 1000, 0, d.clocks.sm_mhz);
    const auto watts = [&](double clock) {  // all of the time stretches with the clock's period, the energy with V^2
        const double ratio = clock / d.clocks.sm_mhz;
        return d.power.idle_w + 900 * ratio * ratio * ratio;
    };
    EXPECT_LE(watts(mhz), d.power.board_limit_w);
    EXPECT_GT(watts(mhz + d.power.clock_step_mhz), d.power.board_limit_w);
    EXPECT_DOUBLE_EQ(std::fmod(mhz, d.power.clock_step_mhz), 0);
}

TEST(SustainedClock, IsTheHighestForWorkUnderTheLimit) {
    const device::Device d = h200();
    chip::Energy e;
    e.hbm = 0.4;
    EXPECT_EQ(chip::sustained_mhz(d, e, 1000, 1000, d.clocks.sm_mhz), d.clocks.sm_mhz);
}

TEST(SustainedClock, FallsAsTheLimitDoes) {
    device::Device d = h200();
    chip::Energy e;
    e.tensor = 0.8;
    double last = d.clocks.sm_mhz;
    for (const double limit : {700.0, 600.0, 450.0, 350.0}) {
        d.power.board_limit_w = limit;
        const double mhz = chip::sustained_mhz(d, e, 1000, 0, d.clocks.sm_mhz);
        EXPECT_LT(mhz, last) << limit;
        last = mhz;
    }
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
    EXPECT_LT(chip::likely_mhz(d, {1e12, 0, 0, 0}, 100), 1900);
    EXPECT_EQ(chip::likely_mhz(d, {1e12, 0, 0, 0}, 1e5), d.clocks.sm_mhz);
    EXPECT_EQ(chip::likely_mhz(d, {}, 1), d.clocks.sm_mhz);
}

}  // namespace
