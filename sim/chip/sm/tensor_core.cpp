#include "chip/sm/tensor_core.h"

#include <algorithm>

namespace memwall::chip {

namespace {

constexpr int kInstructionRows = 64;
constexpr int kInstructionKBytes = 32;

double rate(trace::Dtype dtype, const device::TensorParams& tensor) {
    switch (dtype) {
        case trace::Dtype::fp8:
        case trace::Dtype::int8:
        case trace::Dtype::int4:
            return tensor.flops_per_cycle_fp8;
        case trace::Dtype::tf32:
        case trace::Dtype::fp32:
            return tensor.flops_per_cycle_tf32;
        default:
            return tensor.flops_per_cycle_16bit;
    }
}

}  // namespace

MmaCost mma_cost(const trace::MmaShape& shape, const device::TensorParams& tensor) {
    const int bits = std::max(8, trace::bits_of(shape.dtype));
    const int k_step = kInstructionKBytes * 8 / bits;
    const int rows = (shape.m + kInstructionRows - 1) / kInstructionRows;
    const int steps = (shape.k + k_step - 1) / k_step;
    const int n = std::max(8, (shape.n + 7) / 8 * 8);
    MmaCost cost{};
    cost.instructions = rows * steps;
    const double flops = 2.0 * kInstructionRows * n * k_step;
    cost.tensor_cycles = cost.instructions * flops / rate(shape.dtype, tensor);
    const double a_bytes = shape.a_from_registers ? 0 : kInstructionRows * kInstructionKBytes;
    cost.operand_bytes = cost.instructions * (a_bytes + static_cast<double>(n) * kInstructionKBytes);
    return cost;
}

}  // namespace memwall::chip
