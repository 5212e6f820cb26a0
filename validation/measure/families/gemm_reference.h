// What the products are checked with: fp32 sums by the simplest kernel, for sampled rows of C.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "bench.h"
#include "gemm.h"

namespace memwall::measure {

/// Checks problem.c after a launch: that every element was written (poison it first), and one row of each 64 (all rows
/// when m is at most 64) against fp32 sums. bf16 or fp8 operands.
Check check_product(const kernels::GemmProblem& problem, double tolerance, std::uint64_t seed, cudaStream_t stream);

/// Operands of `copies` products in turn, random, C poisoned.
class ProductOperands {
public:
    ProductOperands(std::int64_t m, std::int64_t n, std::int64_t k, kernels::Dtype dtype, int copies, Bench& bench);
    [[nodiscard]] const kernels::GemmProblem& problem(int copy) const {
        return problems_[static_cast<std::size_t>(copy) % problems_.size()];
    }
    [[nodiscard]] int copies() const { return static_cast<int>(problems_.size()); }
    /// Bytes of one product's operands.
    static std::size_t bytes(std::int64_t m, std::int64_t n, std::int64_t k, kernels::Dtype dtype);

private:
    std::vector<kernels::DeviceBuffer> memory_;
    std::vector<kernels::GemmProblem> problems_;
};

/// One product through cuBLAS (bf16) or cuBLASLt (fp8), fp32 accumulation, C in bf16. Created once for a problem.
class LibraryProduct {
public:
    explicit LibraryProduct(kernels::Dtype dtype);
    ~LibraryProduct();
    LibraryProduct(const LibraryProduct&) = delete;
    LibraryProduct& operator=(const LibraryProduct&) = delete;
    void launch(const kernels::GemmProblem& problem, cudaStream_t stream);

private:
    struct State;
    State* state_;
};

}  // namespace memwall::measure
