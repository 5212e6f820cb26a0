// Cost of wgmma against published rates.
#include "chip/sm/tensor_core.h"

#include <gtest/gtest.h>

#include <algorithm>

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

}  // namespace
}  // namespace memwall::chip
