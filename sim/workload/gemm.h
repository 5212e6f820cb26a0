// Matrix products: C[m][n] = A[m][k] * B[n][k], weights stored row by output feature, k contiguous.
#pragma once

#include <string>

#include "workload/schedule.h"

namespace memwall::workload {

/// Tensors of a product, as indices into the trace.
struct GemmTensors {
    int a, b, c;
    int partials = -1;  ///< split-K: fp32 partial sums, [split][batch * m * n]; made when absent and needed
};

/// Adds the tensors of a product with the given name prefix.
GemmTensors add_gemm_tensors(trace::Trace& trace, const GemmShape& shape, const std::string& name);

/// Appends the kernel. Under split-K each split stores its partial sums as fp32, and a second kernel, `name`.fold, adds
/// them in a fixed order and writes C: cuBLAS's scheme (its splitKreduce_kernel follows the product) and that of
/// memwall-measure.
void append_gemm(trace::Trace& trace, const GemmShape& shape, const GemmTensors& tensors, const GemmSchedule& schedule,
                 const std::string& name, const device::Device& device);

}  // namespace memwall::workload
