// Matrix products: C[m][n] = A[m][k] * B[n][k], weights stored row by output feature, k contiguous.
#pragma once

#include <string>

#include "workload/schedule.h"

namespace memwall::workload {

/// Tensors of a product, as indices into the trace.
struct GemmTensors {
    int a, b, c;
    int sums = -1;  ///< split-K: fp32 partial sums, [m][n] (with the batch in front); made when absent and needed
};

/// Adds the tensors of a product with the given name prefix.
GemmTensors add_gemm_tensors(trace::Trace& trace, const GemmShape& shape, const std::string& name);

/// Appends the kernel. Under split-K the partial sums are added in L2 as fp32; who reads C finds them there: neither
/// clearing them beforehand nor their narrowing to C's type is charged.
void append_gemm(trace::Trace& trace, const GemmShape& shape, const GemmTensors& tensors, const GemmSchedule& schedule,
                 const std::string& name, const device::Device& device);

}  // namespace memwall::workload
