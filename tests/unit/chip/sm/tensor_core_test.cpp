// Cost of wgmma against published rates.
#include "chip/sm/tensor_core.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "chip/sm/vector_units.h"
#include "device/reader.h"

namespace memwall::chip {
namespace {

/// Fraction of the dense peak that one wgmma of 64 x n x 16 (fp16, both operands in shared memory) reaches.
double fraction(int n, bool from_registers = false) {
    const auto device = device::load_device("h100-pcie", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    const MmaCost cost = mma_cost({64, n, 16, trace::Dtype::fp16, from_registers}, device.tensor);
    const double cycles = std::max(cost.tensor_cycles, cost.operand_bytes / device.sm.smem_bytes_per_cycle);
    return 2.0 * 64 * n * 16 / cycles / device.tensor.flops_per_cycle_16bit;
}

// Luo et al., arXiv 2402.13499, wgmma tables, H800 PCIe at 1755 MHz (peak 819.5 TFLOP/s): 477 / 287 / 158 TFLOP/s at
// n = 32 / 16 / 8 from shared memory = 58, 35 and 19 % of that peak; normalised to the rate at n = 256 (729): 65,
// 39, 21.7 %.
TEST(TensorCore, SmallNIsBoundByReadingAFromSharedMemory) {
    EXPECT_NEAR(fraction(32), 0.65, 0.03);
    EXPECT_NEAR(fraction(16), 0.39, 0.02);
    EXPECT_NEAR(fraction(8), 0.217, 0.01);
}

TEST(TensorCore, LargeNRunsAtTheDenseRate) {
    EXPECT_DOUBLE_EQ(fraction(128), 1.0);
    EXPECT_DOUBLE_EQ(fraction(256), 1.0);
}

// Same source: with A in registers n = 32 keeps 710 of 729 TFLOP/s.
TEST(TensorCore, AInRegistersKeepsTheRateAtSmallN) {
    EXPECT_NEAR(fraction(32, true), 1.0, 0.03);
}

// Same source: m64n256k16 fp16 and m64n256k32 fp8 both take 128 cycles.
TEST(TensorCore, Fp8DoublesKPerInstruction) {
    const auto device = device::load_device("h100-sxm5", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    EXPECT_DOUBLE_EQ(mma_cost({64, 256, 32, trace::Dtype::fp8, false}, device.tensor).tensor_cycles, 128);
    EXPECT_DOUBLE_EQ(mma_cost({64, 256, 16, trace::Dtype::bf16, false}, device.tensor).tensor_cycles, 128);
    EXPECT_EQ(mma_cost({128, 256, 64, trace::Dtype::bf16, false}, device.tensor).instructions, 8);
}

/// Runs jobs of whole thousands of picoseconds to their ends; returns (role, end) in order.
std::vector<std::pair<int, std::int64_t>> ends_of(TensorCore& core, std::int64_t now, const MmaJob* late = nullptr,
                                                  std::int64_t late_at = 0) {
    std::vector<std::pair<int, std::int64_t>> ends;
    std::int64_t end = core.begin_turn(now, 0);
    for (;;) {
        if (late != nullptr && late_at < end) {
            core.add(*late);
            if (core.cut_turn(late_at, 0)) end = core.turn_ends(0);
            late = nullptr;
        }
        now = end;
        if (const auto job = core.end_turn(now, 0)) ends.emplace_back(job->role, now);
        if (core.empty()) return ends;
        end = core.begin_turn(now, 0);
    }
}

TEST(TensorCore, WarpgroupsTakeTurnsOfOneInstruction) {
    using Ends = std::vector<std::pair<int, std::int64_t>>;
    TensorCore core;
    core.add({0, 0, 4000, 1000, 4});
    core.add({0, 1, 4000, 1000, 4});
    core.add({0, 0, 2000, 1000, 2});  // of the first again: after its other
    // a b a b a b a b, then the first one's second job alone.
    EXPECT_EQ(ends_of(core, 0), (Ends{{0, 7000}, {1, 8000}, {0, 10000}}));
    // One that comes late waits for the instruction in progress, not for the step.
    core.add({0, 0, 4000, 1000, 4});
    const MmaJob late{0, 1, 1000, 100, 1};
    EXPECT_EQ(ends_of(core, 0, &late, 1500), (Ends{{1, 3000}, {0, 5000}}));
}

TEST(TensorCore, OthersUseOfSharedMemoryHoldsUpTheTurnsThatItFallsIn) {
    TensorCore core;
    core.add({0, 0, 4000, 3000, 4});
    const std::int64_t end = core.begin_turn(0, 0);
    EXPECT_EQ(end, 4000);
    EXPECT_EQ(core.turn_ends(500), 4000);   // fits beside the operands
    EXPECT_EQ(core.turn_ends(1500), 4500);  // does not
    EXPECT_TRUE(core.end_turn(4500, 1500));
}

// Work is conserved, and shared evenly: two that exponentiate together end together, at the time that both take.
TEST(VectorUnits, StepsShareAUnitEvenlyAndTwoUnitsNotAtAll) {
    const auto run = [](std::vector<VectorUnits::Step> steps) {
        VectorUnits units;
        std::map<std::uint32_t, std::int64_t> ends;
        std::int64_t now = 0;
        const auto work_until = [&](std::int64_t until) {
            while (!units.idle() && units.next_ps() <= until) {
                now = units.next_ps();
                units.advance(now, [&](const VectorUnits::Step& step) { ends[step.who] = now; });
            }
            units.advance(until, [&](const VectorUnits::Step& step) { ends[step.who] = until; });
        };
        for (const auto& step : steps) {
            work_until(step.began_ps);
            units.begin(step);
        }
        work_until(1'000'000);
        return ends;
    };
    const double tolerance = 20;  // picoseconds: ends are rounded up to whole ones
    auto ends = run({{1, 0, 10000, 0, 0}, {2, 0, 10000, 0, 0}});
    EXPECT_NEAR(static_cast<double>(ends[1]), 20000, tolerance);
    EXPECT_NEAR(static_cast<double>(ends[2]), 20000, tolerance);
    ends = run({{1, 10000, 0, 0, 0}, {2, 0, 10000, 0, 0}});
    EXPECT_NEAR(static_cast<double>(ends[1]), 10000, tolerance);
    EXPECT_NEAR(static_cast<double>(ends[2]), 10000, tolerance);
    // The second comes when the first is half through: 5000 alone, then 10000 shared, then 5000 alone.
    ends = run({{1, 2000, 10000, 0, 0}, {2, 0, 10000, 5000, 5000}});
    EXPECT_NEAR(static_cast<double>(ends[1]), 15000, tolerance);
    EXPECT_NEAR(static_cast<double>(ends[2]), 20000, tolerance);
}

}  // namespace
}  // namespace memwall::chip
