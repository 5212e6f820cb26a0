// Folding the fp32 partial sums of a product whose k was split into bf16.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace memwall::kernels {

/// out[i] = sum over s of partial[s][i], i in [0, elements), elements a multiple of 4.
void fold_partials(const float* partial, int splits, std::int64_t elements, void* out_bf16, cudaStream_t stream,
                   bool dependent);

}  // namespace memwall::kernels
