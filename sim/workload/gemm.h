// Matrix products: C[m][n] = A[m][k] * B[n][k], weights stored row by output feature, k contiguous.
#pragma once

#include <string>

#include "workload/schedule.h"

namespace memwall::workload {

/// Tensors of a product, as indices into the trace.
struct GemmTensors {
    int a, b, c;
    int partials = -1;  ///< fp32 workspace of at least gemm_workspace elements; made when absent and needed
};

/// Adds the tensors of a product with the given name prefix.
GemmTensors add_gemm_tensors(trace::Trace& trace, const GemmShape& shape, const std::string& name);

/// Elements of fp32 that the schedule needs for partial sums; 0 when none.
std::int64_t gemm_workspace(const GemmShape& shape, const GemmSchedule& schedule, const device::Device& device);

/// Appends the kernel. Under split-K each split stores its partial sums as fp32, and a second kernel, `name`.fold, adds
/// them in a fixed order and writes C: cuBLAS's scheme (its splitKreduce_kernel follows the product) and that of
/// memwall-measure. Under Stream-K the CTA that begins a tile adds what others did of it, in the same kernel: CUTLASS's
/// scheme for it.
void append_gemm(trace::Trace& trace, const GemmShape& shape, const GemmTensors& tensors, const GemmSchedule& schedule,
                 const std::string& name, const device::Device& device);

}  // namespace memwall::workload
